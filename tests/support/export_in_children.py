"""Exports in child processes that get a signal while they work; see test_killed_export.py.

    python export_in_children.py RUN WORK SIGNAL COUNT SEED

This process imports TensorFlow but runs nothing with it. So its forked children need not import it
again. The first export, to `WORK/new`, gets no signal: its time is the range of the moments. Then
COUNT exports to `WORK/place/bundle` get SIGNAL, each at a random moment; an export that ends before
its moment is repeated. Every second one finds the bundle `WORK/old` in its place. The files that it
leaves are copied to `WORK/NN`. The program prints one line of JSON for each child: seconds, signal
or exit status, output.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

from tiny_run import FORMATS

from unet_edge.cli import main
from unet_edge.cli.group import need
from unet_edge.cli.workstation import _EXPORT_MODULES


def export(run: Path, output: Path, log: Path) -> int:
    """Start an export in a child; returns its process id."""
    child = os.fork()
    if child:
        return child
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    status = 1
    try:
        main(["export", str(run), "-o", str(output), "--formats", FORMATS, "--golden", "2"])
    except SystemExit as end:
        status = int(end.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def wait(child: int, seconds: float = math.inf, sent: int = 0) -> int:
    """Wait `seconds` for the child, then send the signal `sent` if it still runs.

    Returns the child's exit status, negative for the signal that ended it.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, sent)  # the id is still the child's, since nobody has waited for it
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def report(seconds: float, status: int, log: Path) -> None:
    """Print the line of a child."""
    line = {"seconds": seconds, "status": status, "output": log.read_text()}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def run_all(run: Path, work: Path, sent: signal.Signals, count: int, seed: int) -> None:
    """Run the exports, as the module's docstring says."""
    need("export", _EXPORT_MODULES)
    import converters.export  # noqa: F401

    log = work / "log"
    started = time.monotonic()
    status = wait(export(run, work / "new", log))
    duration = time.monotonic() - started
    report(duration, status, log)
    moments = random.Random(seed)
    place = work / "place"
    place.mkdir()
    number = 0
    while number < count:
        shutil.rmtree(place / "bundle", ignore_errors=True)
        if number % 2 == 0:
            shutil.copytree(work / "old", place / "bundle")
        moment, started = moments.uniform(0, duration), time.monotonic()
        status = wait(export(run, place / "bundle", log), moment, sent)
        if status == 0:
            # Other work slowed down the first export: this is a better estimate of the time.
            duration = time.monotonic() - started
            continue
        shutil.copytree(place, work / f"{number:02d}")
        report(moment, status, log)
        number += 1


if __name__ == "__main__":
    run_path, work_path, name, *numbers = sys.argv[1:]
    run_all(Path(run_path), Path(work_path), signal.Signals[name], *map(int, numbers))
