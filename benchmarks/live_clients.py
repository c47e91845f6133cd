"""Count a camera's frames while slow and malformed clients are at the live page.

    python -m benchmarks.live_clients BUNDLE

A server with a test pattern as its camera, clients in a second process (see `slow_clients`), and
an honest client in this one, which asks for a frame and the state again and again. Frames are
counted over the same time without and with the slow clients, in turn. Two cameras: one of 30 frames
a second, and one faster than the model, whose rate shows every lost millisecond.

Writes `benchmarks/reference/<machine>/live-clients.{md,json}`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import httpx

from benchmarks.live_server import ServerProcess, server_process
from benchmarks.reporting import (
    REFERENCE,
    named,
    page,
    spelled,
    steadiness,
    table,
    write_report,
)
from benchmarks.resident_memory import resident_bytes
from unet_edge.system.timing import gemm_ms, machine

_CAMERAS = {
    "30 frames a second": "pattern:640x480@30",
    "as fast as the model": "pattern:640x480@999",
}


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True))
@click.option("--clients", type=click.IntRange(1), default=200, show_default=True)
@click.option("--seconds", type=float, default=20.0, show_default=True, help="Of each count.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=REFERENCE)
def main(bundle: Path, clients: int, seconds: float, rounds: int, output: Path) -> None:
    """Count frames with the model of BUNDLE."""
    about, before = machine(), gemm_ms()
    cameras = {
        name: _measure(["live", source, str(bundle), "--threads", "1"], clients, seconds, rounds)
        for name, source in _CAMERAS.items()
    }
    share = _processor_share(["live", "pattern", str(bundle)], clients, seconds)
    report = {
        "machine": about,
        "processor_share": share,
        "clients": clients,
        "seconds": seconds,
        "rounds": rounds,
        "gemm_before_ms": before,
        "gemm_after_ms": gemm_ms(),
        "cameras": cameras,
    }
    target = named(output, about, "live-clients")
    write_report(target, report, _page(report))
    print(target.with_suffix(".md").read_text())


def _measure(arguments: list[str], clients: int, seconds: float, rounds: int) -> dict[str, Any]:
    with server_process(arguments) as server:
        time.sleep(3)
        quiet, busy = [], []
        memory = resident_bytes(server.process) or 0
        most, opened = memory, 0
        for _ in range(rounds):
            quiet.append(_count(server, seconds))
            with _slow_clients(server.port, clients) as connections:
                time.sleep(2)
                busy.append(_count(server, seconds))
                most = max(most, resident_bytes(server.process) or 0)
            opened += connections[0]
        without, during = (sum(each["frames"] for each in counts) for counts in (quiet, busy))
        return {
            "without": quiet,
            "with": busy,
            "rate_without": without / (rounds * seconds),
            "rate_with": during / (rounds * seconds),
            "fall": 1 - during / without,
            "connections": opened,
            "memory_mib": memory / 2**20,
            "most_memory_mib": most / 2**20,
        }


def _processor_share(arguments: list[str], clients: int, seconds: float) -> float:
    """The share of a processor that the server takes for slow clients alone."""
    with server_process(arguments) as server:
        httpx.post(f"{server.address}api/stream", json={"running": False}).raise_for_status()
        with _slow_clients(server.port, clients):
            time.sleep(2)
            start, used = time.monotonic(), _processor_seconds(server.process)
            time.sleep(seconds)
            return (_processor_seconds(server.process) - used) / (time.monotonic() - start)


def _processor_seconds(process: int) -> float:
    """The time that a process has used of all processors, in s (proc(5), stat)."""
    fields = Path("/proc", str(process), "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _count(server: ServerProcess, seconds: float) -> dict[str, Any]:
    """Count frames for a time, while an honest client asks ten times a second."""
    times: list[float] = []
    failed = 0
    with httpx.Client(base_url=server.address, timeout=30) as client:
        start, frames = time.monotonic(), _frames(client)
        while (left := start + seconds - time.monotonic()) > 0:
            begun = time.monotonic()
            try:
                answers = [httpx.get(server.address + path) for path in ("api/state", "api/frame")]
                failed += sum(answer.status_code != 200 for answer in answers)
            except httpx.HTTPError:
                failed += 1
            times.append(time.monotonic() - begun)
            time.sleep(min(max(0.0, left), 0.1))
        spent, counted = time.monotonic() - start, _frames(client) - frames
    times.sort()
    return {
        "frames": counted * seconds / spent,
        "honest": 2 * len(times),
        "failed": failed,
        "p50_ms": 1000 * times[len(times) // 2],
        "p99_ms": 1000 * times[int(0.99 * len(times))],
    }


def _frames(client: httpx.Client) -> int:
    frames: int = client.get("/api/state").json()["frames"]
    return frames


@contextmanager
def _slow_clients(port: int, count: int) -> Iterator[list[int]]:
    """Run slow clients; the list has the number of their connections at the end."""
    command = [sys.executable, "-m", "benchmarks.slow_clients", str(port), str(count)]
    connections: list[int] = []
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield connections
        text, _ = process.communicate("")
        connections += map(int, text.split())


def _page(report: dict[str, Any]) -> str:
    rows = [
        (
            name,
            f"{camera['rate_without']:.2f}",
            f"{camera['rate_with']:.2f}",
            f"{camera['fall']:.1%}",
            str(camera["connections"]),
            str(sum(each["failed"] for each in camera["with"])),
            f"{max(each['p99_ms'] for each in camera['with']):.0f}",
            f"{camera['memory_mib']:.0f} → {camera['most_memory_mib']:.0f}",
        )
        for name, camera in report["cameras"].items()
    ]
    headers = [
        "camera", "frames/s", "with clients", "fall", "connections", "failed", "p99, ms", "MiB",
    ]  # fmt: skip
    return page(
        "# Slow and malformed clients at the live page",
        f"{report['clients']} clients; {report['rounds']} counts of {report['seconds']:g} s "
        "without and with them, in turn. Failed: requests of the honest client, which asks for the "
        "state and a frame each 0.1 s; its p99 is that of both together, of the slowest count. "
        "Memory is that of the server, before and at most.",
        table(rows, headers),
        "With the camera stopped, the slow clients alone take the server "
        f"{report['processor_share']:.1%} of a processor.",
        steadiness(report),
        f"Machine: {spelled(report['machine'])}",
    )


if __name__ == "__main__":
    main()
