"""Segment a folder of photos: throughput, memory, and resuming after a kill.

    python -m benchmarks.folder BUNDLE PHOTO [PHOTO ...]

Makes a folder of 2,000 copies of the photos, five of them truncated, and measures

- throughput: photos in parallel, one interpreter for each thread, against one photo after another,
  one interpreter with all threads. Both take turns; the result is the median of the pairs' ratios;
- memory: the resident memory of a `segment` process that segments the folder;
- resuming: a second `segment` process is killed (SIGKILL) half-way and run again. Its files are
  compared with those of the first process, byte for byte.

Writes `benchmarks/reference/<machine>/folder.{md,json}`.
"""

from __future__ import annotations

import json
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.reporting import REFERENCE, named, page, spelled, table, write_report
from benchmarks.resident_memory import resident_bytes
from unet_edge.batch.folder_run import FolderRun
from unet_edge.batch.outputs import PhotoKind, Segmented
from unet_edge.batch.resume_log import RESUME_LOG, open_resume_log
from unet_edge.images.decoding import decode, read_photo
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.runtime.threads import default_threads
from unet_edge.system.files import sha256
from unet_edge.system.timing import machine

_DAMAGED = 5
_KINDS: tuple[PhotoKind, ...] = ("palette", "overlay")  # the default of `segment`


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True))
@click.argument("photos", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--count", default=2000, show_default=True, help="Photos in the folder.")
@click.option("--round", "size", default=60, show_default=True, help="Photos a round is timed on.")
@click.option("--rounds", default=7, show_default=True, help="Pairs of rounds.")
@click.option("--output", type=click.Path(path_type=Path), default=REFERENCE)
def main(
    bundle: Path, photos: Sequence[Path], count: int, size: int, rounds: int, output: Path
) -> None:
    """Make the folder, measure, and write the report."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch:  # /tmp may be memory
        folder = Path(scratch, "photos")
        damaged = _copy_photos(folder, photos, count)
        sound = [path for path in sorted(folder.iterdir()) if path.name not in damaged]
        report: dict[str, Any] = {
            "machine": machine(),
            "photos": count,
            "sizes": sorted({"{}x{}".format(*decode(photo).size) for photo in photos}),
            "threads": default_threads(),
            "throughput": _throughput(bundle, sound[:size], Path(scratch), rounds),
            **_whole_folder(bundle, folder, Path(scratch), damaged),
        }
    target = named(output, report["machine"], "folder")
    write_report(target, report, _markdown(report))
    print(_markdown(report))


def _copy_photos(folder: Path, photos: Sequence[Path], count: int) -> set[str]:
    """Fill `folder` with copies of the photos; returns the names of the truncated ones."""
    folder.mkdir()
    damaged = {int(index) for index in np.linspace(count / 10, count - 1, _DAMAGED)}
    names = set()
    for index, photo in zip(range(count), cycle(photos), strict=False):
        target = folder / f"{index:05d}{photo.suffix}"
        shutil.copyfile(photo, target)
        if index in damaged:
            target.write_bytes(photo.read_bytes()[: photo.stat().st_size // 2])
            names.add(target.name)
    return names


def _throughput(bundle: Path, photos: Sequence[Path], scratch: Path, rounds: int) -> dict[str, Any]:
    """Time of a photo in sequence and in parallel (ms), and quartiles of the pairs' ratios."""
    count = default_threads()
    all_threads = Segmenter.open(bundle)
    single_threaded = [Segmenter.open(bundle, threads=1) for _ in range(count)]
    out = scratch / "rounds"

    def segment(segmenter: Segmenter, picture: Path, _: Any) -> Segmented:
        photo = read_photo(picture, segmenter.spec)
        drawn_on = photo.picture if photo.is_full_size else picture
        return Segmented(drawn_on, segmenter.segment(photo), None, picture.name)

    def seconds_a_photo(parallel: bool) -> float:
        shutil.rmtree(out, ignore_errors=True)
        with open_resume_log(out) as log:
            run = FolderRun(log, segment, _KINDS, {"model": all_threads.digest})
            started = time.perf_counter()
            classes = len(all_threads.spec.classes)
            if parallel:
                run.run(photos, lambda _: single_threaded, classes=classes, again=True)
            else:
                for photo in photos:
                    run.run([photo], lambda _: [all_threads], classes=classes, again=True)
            return (time.perf_counter() - started) / len(photos)

    pairs = []
    for turn in range(-1, rounds):
        order = (True, False) if turn % 2 else (False, True)
        times = {parallel: seconds_a_photo(parallel) for parallel in order}
        if turn >= 0:  # the first turn is a warm-up
            pairs.append((times[False], times[True]))
    quartiles = statistics.quantiles([sequence / parallel for sequence, parallel in pairs], n=4)
    return {
        "one_ms": 1000 * statistics.median(sequence for sequence, _ in pairs),
        "at_once_ms": 1000 * statistics.median(parallel for _, parallel in pairs),
        "ratio": quartiles,
    }


def _whole_folder(bundle: Path, folder: Path, scratch: Path, damaged: set[str]) -> dict[str, Any]:
    """Segment the folder without interruption, then again with a kill half-way; compare both."""
    uninterrupted, resumed = scratch / "whole", scratch / "resumed"
    started = time.perf_counter()
    memory, report = _watched(bundle, folder, uninterrupted)
    seconds = time.perf_counter() - started
    failed = {Path(entry["picture"]).name for entry in report["pictures"] if "error" in entry}
    done = _photos_done(uninterrupted)
    _watched(bundle, folder, resumed, kill_at=done // 2)
    before = _photos_done(resumed)
    _, again = _watched(bundle, folder, resumed)
    skipped = sum(entry.get("skipped", False) for entry in again["pictures"])
    # Memory against time without the first and the last tenth: the start, and the report.
    middle = np.array(memory[len(memory) // 10 : len(memory) * 9 // 10])
    slope = float(np.polyfit(np.linspace(0, 0.8, len(middle)), middle, 1)[0])
    return {
        "seconds": seconds,
        "reported": sorted(failed),
        "reported_are_the_damaged": failed == damaged,
        "done": done,
        "memory_mib": {
            "median": float(np.median(middle)),
            "peak": max(memory),
            "over_the_folder": slope,
        },
        "killed_after": before,
        "skipped_when_repeated": skipped,
        "written_when_repeated": _photos_done(resumed) - before,
        "same_files": _digests(uninterrupted) == _digests(resumed),
    }


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path.read_bytes()) for path in folder.glob("*.png")}


def _watched(
    bundle: Path, folder: Path, out: Path, kill_at: int | None = None
) -> tuple[list[float], Any]:
    """Run `segment`; returns its resident memory every 0.1 s (MiB), and its JSON output.

    `kill_at` kills the process once that many photos are done; the output is then None.
    """
    command = [sys.executable, "-m", "unet_edge", "segment", bundle, folder, "-o", out, "--json"]
    memory = []
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(
            [str(part) for part in command], stdout=output, stderr=subprocess.DEVNULL
        )
        while child.poll() is None:
            if (resident := resident_bytes(child.pid)) is not None:
                memory.append(resident / 2**20)
            if kill_at is not None and _photos_done(out) >= kill_at:
                child.send_signal(signal.SIGKILL)
                child.wait()
            time.sleep(0.1)
        output.seek(0)
        text = output.read()
    return memory, json.loads(text) if kill_at is None else None


def _photos_done(out: Path) -> int:
    """The number of entries in the resume log; a photo segmented twice counts twice."""
    log = out / RESUME_LOG
    return log.read_bytes().count(b'"coverage"') if log.exists() else 0


def _markdown(report: dict[str, Any]) -> str:
    facts = spelled(report["machine"])
    times, memory = report["throughput"], report["memory_mib"]
    low, middle, high = times["ratio"]
    rows = [
        ("in sequence, ms a photo", f"{times['one_ms']:.1f}"),
        ("in parallel, ms a photo", f"{times['at_once_ms']:.1f}"),
        ("speed-up", f"{middle:.2f} ({low:.2f} to {high:.2f})"),
        ("the whole folder, s", f"{report['seconds']:.0f}"),
        ("resident memory, median, MiB", f"{memory['median']:.1f}"),
        ("resident memory, peak, MiB", f"{memory['peak']:.1f}"),
        ("trend of memory over the folder, MiB", f"{memory['over_the_folder']:+.1f}"),
        (
            "reported as unreadable",
            f"{len(report['reported'])}, "
            f"{'exactly' if report['reported_are_the_damaged'] else 'NOT'} the truncated ones",
        ),
        ("photos done before the kill", report["killed_after"]),
        ("skipped by the second run", report["skipped_when_repeated"]),
        ("done by the second run", f"{report['written_when_repeated']} of {report['done']}"),
        (
            "files equal to the uninterrupted run's",
            "all" if report["same_files"] else "NOT ALL",
        ),
    ]
    return page(
        "# A folder of photos",
        f"Made by `python -m benchmarks.folder`. Machine: {facts}.",
        f"{report['photos']} photos of {', '.join(report['sizes'])} px, five truncated; "
        f"palette masks and overlays. Both ways use {report['threads']} threads: in sequence one "
        "interpreter has all of them, in parallel each has its own interpreter. The speed-up is "
        "the median of pairs of rounds, with its quartiles.",
        table(rows, ["", ""]),
    )


if __name__ == "__main__":
    main()
