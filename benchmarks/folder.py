"""A folder of photos: several at once against one after another, memory, and a kill half-way.

    python -m benchmarks.folder BUNDLE PHOTO [PHOTO ...]

Makes a folder of copies of the photos (2,000, five of them cut off) and measures

- throughput: `segment`'s own folder run against the same one called with one photo after another,
  whose interpreter has all threads; in turns, the median of the pairs' ratios counts;
- memory: the resident memory of a `segment` process while it goes through the folder;
- resuming: another one is killed (SIGKILL) half-way and repeated, and its files are compared with
  the first one's, byte for byte.

Writes `benchmarks/reference/<machine>-folder.{md,json}`.
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
from unet_edge.batch.folder_run import FolderRun
from unet_edge.batch.outputs import PhotoKind, Segmented
from unet_edge.batch.resume_log import RESUME_LOG, open_resume_log
from unet_edge.images.decoding import decode, read_photo
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.runtime.threads import default_threads
from unet_edge.system.files import sha256
from unet_edge.system.timing import machine

_DAMAGED = 5
_KINDS: tuple[PhotoKind, ...] = ("palette", "overlay")  # what `segment` writes by itself


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
    """Make the folder, measure, write the table."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch:  # /tmp may be memory
        folder = Path(scratch, "photos")
        damaged = _make(folder, photos, count)
        sound = [path for path in sorted(folder.iterdir()) if path.name not in damaged]
        report: dict[str, Any] = {
            "machine": machine(),
            "photos": count,
            "sizes": sorted({"{}x{}".format(*decode(photo).size) for photo in photos}),
            "threads": default_threads(),
            "throughput": _throughput(bundle, sound[:size], Path(scratch), rounds),
            **_through_the_folder(bundle, folder, Path(scratch), damaged),
        }
    target = named(output, report["machine"], "folder")
    write_report(target, report, _markdown(report))
    print(_markdown(report))


def _make(folder: Path, photos: Sequence[Path], count: int) -> set[str]:
    """Copy the photos in turn; the names of those that are cut off half-way."""
    folder.mkdir()
    damaged = {int(place) for place in np.linspace(count / 10, count - 1, _DAMAGED)}
    names = set()
    for index, photo in zip(range(count), cycle(photos), strict=False):
        target = folder / f"{index:05d}{photo.suffix}"
        shutil.copyfile(photo, target)
        if index in damaged:
            target.write_bytes(photo.read_bytes()[: photo.stat().st_size // 2])
            names.add(target.name)
    return names


def _throughput(bundle: Path, photos: Sequence[Path], scratch: Path, rounds: int) -> dict[str, Any]:
    """Seconds a photo both ways, and how many times as many go through at once."""
    count = default_threads()
    alone = Segmenter.open(bundle)
    together = [Segmenter.open(bundle, threads=1) for _ in range(count)]
    out = scratch / "rounds"

    def look(segmenter: Segmenter, picture: Path, _: Any) -> Segmented:
        photo = read_photo(picture, segmenter.spec)
        drawn_on = photo.picture if photo.is_full_size else picture
        return Segmented(drawn_on, segmenter.segment(photo), None, picture.name)

    def timed(at_once: bool) -> float:
        shutil.rmtree(out, ignore_errors=True)
        with open_resume_log(out) as log:
            run = FolderRun(log, look, _KINDS, {"model": alone.digest})
            started = time.perf_counter()
            classes = len(alone.spec.classes)
            if at_once:
                run.run(photos, lambda _: together, classes=classes, again=True)
            else:
                for photo in photos:
                    run.run([photo], lambda _: [alone], classes=classes, again=True)
            return (time.perf_counter() - started) / len(photos)

    pairs = []
    for turn in range(-1, rounds):
        order = (True, False) if turn % 2 else (False, True)
        spent = {at_once: timed(at_once) for at_once in order}
        if turn >= 0:
            pairs.append((spent[False], spent[True]))
    quartiles = statistics.quantiles([one / many for one, many in pairs], n=4)
    return {
        "one_ms": 1000 * statistics.median(one for one, _ in pairs),
        "at_once_ms": 1000 * statistics.median(many for _, many in pairs),
        "ratio": quartiles,
    }


def _through_the_folder(
    bundle: Path, folder: Path, scratch: Path, damaged: set[str]
) -> dict[str, Any]:
    whole, resumed = scratch / "whole", scratch / "resumed"
    started = time.perf_counter()
    memory, report = _watched(bundle, folder, whole)
    seconds = time.perf_counter() - started
    failed = {Path(entry["picture"]).name for entry in report["pictures"] if "error" in entry}
    done = _lines(whole)
    _watched(bundle, folder, resumed, kill_at=done // 2)
    before = _lines(resumed)
    _, again = _watched(bundle, folder, resumed)
    skipped = sum(entry.get("skipped", False) for entry in again["pictures"])
    files = {path.name: sha256(path.read_bytes()) for path in whole.glob("*.png")}
    same = files == {path.name: sha256(path.read_bytes()) for path in resumed.glob("*.png")}
    # Memory against time, first and last tenth left out: starting, and writing the report.
    kept = np.array(memory[len(memory) // 10 : len(memory) * 9 // 10])
    slope = float(np.polyfit(np.linspace(0, 0.8, len(kept)), kept, 1)[0])
    return {
        "seconds": seconds,
        "reported": sorted(failed),
        "reported_are_the_damaged": failed == damaged,
        "done": done,
        "memory_mib": {
            "median": float(np.median(kept)),
            "peak": max(memory),
            "over_the_folder": slope,
        },
        "killed_after": before,
        "skipped_when_repeated": skipped,
        "written_when_repeated": _lines(resumed) - before,
        "same_files": same,
    }


def _watched(
    bundle: Path, folder: Path, out: Path, kill_at: int | None = None
) -> tuple[list[float], Any]:
    """Run `segment`; its resident memory every tenth of a second (MiB), and what it printed."""
    command = [sys.executable, "-m", "unet_edge", "segment", bundle, folder, "-o", out, "--json"]
    memory = []
    with tempfile.TemporaryFile() as printed:
        child = subprocess.Popen(
            [str(part) for part in command], stdout=printed, stderr=subprocess.DEVNULL
        )
        while child.poll() is None:
            if (resident := _resident(child.pid)) is not None:
                memory.append(resident)
            if kill_at is not None and _lines(out) >= kill_at:
                child.send_signal(signal.SIGKILL)
                child.wait()
            time.sleep(0.1)
        printed.seek(0)
        text = printed.read()
    return memory, json.loads(text) if kill_at is None else None


def _resident(process: int) -> float | None:
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError):  # it ended just now
        return None
    return pages * 4096 / 2**20


def _lines(out: Path) -> int:
    """Photos that the log calls done; a photo done twice counts twice."""
    log = out / RESUME_LOG
    return log.read_bytes().count(b'"coverage"') if log.exists() else 0


def _markdown(report: dict[str, Any]) -> str:
    facts = spelled(report["machine"])
    timed, memory = report["throughput"], report["memory_mib"]
    low, middle, high = timed["ratio"]
    rows = [
        ("one after another, ms a photo", f"{timed['one_ms']:.1f}"),
        ("at once, ms a photo", f"{timed['at_once_ms']:.1f}"),
        ("times as many at once", f"{middle:.2f} ({low:.2f} to {high:.2f})"),
        ("the whole folder, s", f"{report['seconds']:.0f}"),
        ("resident memory, median, MiB", f"{memory['median']:.1f}"),
        ("peak, MiB", f"{memory['peak']:.1f}"),
        ("its trend over the whole folder, MiB", f"{memory['over_the_folder']:+.1f}"),
        (
            "could not be read, reported",
            f"{len(report['reported'])}, "
            f"{'exactly' if report['reported_are_the_damaged'] else 'NOT'} the damaged ones",
        ),
        ("killed after", report["killed_after"]),
        ("left out when repeated", report["skipped_when_repeated"]),
        ("done when repeated", f"{report['written_when_repeated']} of {report['done']}"),
        ("files as of the run that was not killed", "all" if report["same_files"] else "NOT ALL"),
    ]
    return page(
        "# A folder of photos",
        f"Made by `python -m benchmarks.folder`. Machine: {facts}.",
        f"{report['photos']} photos of {', '.join(report['sizes'])} px, five cut off; "
        f"palette masks and overlays; {report['threads']} threads either way: one "
        "interpreter with all of them, or one for each. Pairs of rounds in turns, median "
        "and quartiles of their ratios.",
        table(rows, ["", ""]),
    )


if __name__ == "__main__":
    main()
