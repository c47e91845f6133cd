"""Support for the tests of `unet-edge segment`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ALL = "index,palette,overlay,cutout,probabilities,polygons,rle,csv,jsonl"

# A program that gets a signal at its n-th change of the folder: os.replace, os.link or os.fsync.
KILLED = """
import itertools, os, pathlib, signal, sys
moment = int(sys.argv[1])
calls = itertools.count(1)  # several threads count
sent = getattr(signal, sys.argv[2])
def counted(call):
    def wrapper(*arguments, **settings):
        if next(calls) == moment:
            os.kill(os.getpid(), sent)
        return call(*arguments, **settings)
    return wrapper
pathlib.Path.replace = counted(pathlib.Path.replace)
os.link = counted(os.link)
os.fsync = counted(os.fsync)
from unet_edge.cli import main
main(sys.argv[3:])
"""


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def skipped(report: Any) -> list[bool]:
    return [entry["skipped"] for entry in report["pictures"]]
