"""Exports in child processes that are sent a signal while they work; see test_killed_export.py.

    python export_in_children.py RUN WORK SIGNAL COUNT SEED

This process imports TensorFlow but runs nothing with it, so that its children, which are forked,
start with the import behind them. A first export is left alone: `WORK/new` is its bundle, its
time the range of the moments. Then COUNT exports to `WORK/place/bundle` get SIGNAL, each at a
random moment of its own (one that ends well before it is repeated); of two in turn one finds
the bundle `WORK/old` there. What each leaves is copied to `WORK/NN`. Prints one line of JSON a
child: seconds, signal or exit status, output.
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
    """Wait some seconds for the child, send the signal if it still runs, and return its status.

    That is its exit status, negative for a signal that ended it.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, sent)  # it is not waited for yet, so the id is still its own
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def report(seconds: float, status: int, log: Path) -> None:
    """Write a child's line."""
    line = {"seconds": seconds, "status": status, "output": log.read_text()}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def run_all(run: Path, work: Path, sent: signal.Signals, count: int, seed: int) -> None:
    """As the module's docstring says."""
    need("export", _EXPORT_MODULES)
    import converters.export  # noqa: F401

    log = work / "log"
    started = time.monotonic()
    status = wait(export(run, work / "new", log))
    whole = time.monotonic() - started
    report(whole, status, log)
    moments = random.Random(seed)
    place = work / "place"
    place.mkdir()
    number = 0
    while number < count:
        shutil.rmtree(place / "bundle", ignore_errors=True)
        if number % 2 == 0:
            shutil.copytree(work / "old", place / "bundle")
        moment, started = moments.uniform(0, whole), time.monotonic()
        status = wait(export(run, place / "bundle", log), moment, sent)
        if status == 0:
            # The first export was slowed down by other work: now it is known how long one takes.
            whole = time.monotonic() - started
            continue
        shutil.copytree(place, work / f"{number:02d}")
        report(moment, status, log)
        number += 1


if __name__ == "__main__":
    run_path, work_path, name, *numbers = sys.argv[1:]
    run_all(Path(run_path), Path(work_path), signal.Signals[name], *map(int, numbers))
