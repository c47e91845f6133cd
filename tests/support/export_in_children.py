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

from unet_edge import command
from unet_edge.cli.group import need
from unet_edge.cli.workstation import _EXPORT_MODULES

_INTERRUPTED_OUTSIDE = 99


def export(run: Path, output: Path, log: Path) -> int:
    """Start an export in a child; returns its process id.

    SIGINT waits until the child can tell whether the command was interrupted, or this code.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    child = os.fork()
    if child:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        return child
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    sys.argv = ["unet-edge", "export", str(run), "-o", str(output), "--formats", FORMATS]
    sys.argv += ["--golden", "2"]
    status = 1
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        command.main()
    except SystemExit as end:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        status = int(end.code or 0)
    except KeyboardInterrupt as interrupt:
        # One that the command let through is a fault; one raised in this frame is not.
        frames = interrupt.__traceback__
        if frames and frames.tb_next is None:
            status = _INTERRUPTED_OUTSIDE
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
        if status in (0, _INTERRUPTED_OUTSIDE):
            # Other work slowed down the first export: this is a better estimate of the time.
            duration = time.monotonic() - started
            continue
        shutil.copytree(place, work / f"{number:02d}")
        report(moment, status, log)
        number += 1


if __name__ == "__main__":
    run_path, work_path, name, *numbers = sys.argv[1:]
    run_all(Path(run_path), Path(work_path), signal.Signals[name], *map(int, numbers))
