"""Load the service: pictures a second, waiting times, refusals, and whether a mask is wrong.

    python -m benchmarks.live_service BUNDLE

Programs post pictures to /segment one after another, more and more of them at once. Each posts the
next picture when the answer of the last has come, and after a 429 waits as Retry-After says, but at
most 0.1 s: a client that is too eager. Every mask is compared with that of `Segmenter.segment` of
the same bytes. The pictures are the bundle's golden ones, as PNG and as JPEG of twice the size.

Writes `benchmarks/reference/<machine>/live-service.{md,json}`.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import httpx
import numpy as np
from PIL import Image

from benchmarks.live_server import server_process
from benchmarks.reporting import (
    REFERENCE,
    named,
    page,
    spelled,
    steadiness,
    table,
    write_report,
)
from unet_edge import Segmenter
from unet_edge.bundle.bundle import Bundle
from unet_edge.images.placement import Labels
from unet_edge.system.timing import gemm_ms, machine

_LONGEST_PAUSE = 0.1  # s after a 429


@dataclass
class _Outcome:
    """What the programs saw."""

    seconds: list[float] = field(default_factory=list)  # of answers with a mask
    refused: int = 0
    failed: int = 0
    wrong: int = 0


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True))
@click.option("--seconds", type=float, default=20.0, show_default=True, help="Of each load.")
@click.option("--programs", type=int, multiple=True, default=(1, 2, 4, 8, 16, 32))
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True)
@click.option("--queue", type=click.IntRange(1), default=8, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=REFERENCE)
def main(
    bundle: Path, seconds: float, programs: Sequence[int], workers: int, queue: int, output: Path
) -> None:
    """Load the service with the model of BUNDLE."""
    about, before = machine(), gemm_ms()
    pictures = _pictures(bundle)
    options = ["--workers", str(workers), "--queue", str(queue), "--threads", "1"]
    loads = []
    with server_process(["serve", str(bundle), *options]) as server:
        _load(server.address, pictures, 1, 1.0)  # warm
        for count in programs:
            loads.append({"programs": count, **_load(server.address, pictures, count, seconds)})
    report = {
        "machine": about,
        "seconds": seconds,
        "workers": workers,
        "queue": queue,
        "gemm_before_ms": before,
        "gemm_after_ms": gemm_ms(),
        "loads": loads,
    }
    target = named(output, about, "live-service")
    write_report(target, report, _page(report))
    print(target.with_suffix(".md").read_text())


def _pictures(path: Path) -> list[tuple[bytes, Labels]]:
    """Pictures' files and their masks, uint8 (H, W)."""
    bundle, segmenter = Bundle.open(path), Segmenter.open(path, threads=1)
    pictures = []
    for golden in bundle.golden:
        data, _ = bundle.read_golden(golden)
        pictures.append(data)
        photo = Image.open(io.BytesIO(data)).convert("RGB")
        buffer = io.BytesIO()
        photo.resize((2 * photo.width, 2 * photo.height)).save(buffer, "JPEG", quality=90)
        pictures.append(buffer.getvalue())
    return [(data, segmenter.segment(data).labels) for data in pictures]


def _load(
    address: str, pictures: Sequence[tuple[bytes, Labels]], count: int, seconds: float
) -> dict[str, Any]:
    outcome, lock = _Outcome(), threading.Lock()
    # Made before: each reads the certificates of the web, 20 ms of a processor, unless told not to.
    clients = [httpx.Client(base_url=address, timeout=60, verify=False) for _ in range(count)]
    end = time.monotonic() + seconds

    def post(number: int) -> None:
        with clients[number] as client:
            while time.monotonic() < end:
                data, labels = pictures[number % len(pictures)]
                number += 1
                begun = time.monotonic()
                answer = client.post("/segment", content=data)
                spent = time.monotonic() - begun
                if answer.status_code == 429:
                    with lock:
                        outcome.refused += 1
                    time.sleep(min(_LONGEST_PAUSE, float(answer.headers["retry-after"])))
                    continue
                good = answer.status_code == 200
                right = good and np.array_equal(
                    np.asarray(Image.open(io.BytesIO(answer.content))), labels
                )
                with lock:
                    if good:
                        outcome.seconds.append(spent)
                    outcome.failed += not good
                    outcome.wrong += good and not right

    threads = [threading.Thread(target=post, args=(number,)) for number in range(count)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = time.monotonic() - begun
    times = sorted(outcome.seconds)
    return {
        "masks": len(times),
        "rate": len(times) / spent,
        "p50_ms": 1000 * times[len(times) // 2],
        "p99_ms": 1000 * times[int(0.99 * len(times))],
        "refused": outcome.refused,
        "refused_share": outcome.refused / (outcome.refused + len(times) + outcome.failed),
        "failed": outcome.failed,
        "wrong": outcome.wrong,
    }


def _page(report: dict[str, Any]) -> str:
    rows = [
        (
            str(load["programs"]),
            f"{load['rate']:.1f}",
            f"{load['p50_ms']:.0f}",
            f"{load['p99_ms']:.0f}",
            f"{load['refused_share']:.1%}",
            str(load["failed"]),
            f"{load['wrong']} of {load['masks']}",
        )
        for load in report["loads"]
    ]
    headers = ["programs", "masks/s", "p50, ms", "p99, ms", "429", "failed", "wrong masks"]
    return page(
        "# The service under load",
        f"{report['workers']} worker(s), a queue of {report['queue']}, {report['seconds']:g} s for "
        "each load. Programs and server share the machine. Times are of answers with a mask, as "
        "the program sees them.",
        table(rows, headers),
        steadiness(report),
        f"Machine: {spelled(report['machine'])}",
    )


if __name__ == "__main__":
    main()
