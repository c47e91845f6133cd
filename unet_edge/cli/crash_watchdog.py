"""The watchdog for opening a model: if the process crashes, it runs the doctor."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def crash_watchdog(model: Path) -> Iterator[None]:
    """Run 'unet-edge doctor' if the process dies inside the block, which opens `model`."""
    # Some interpreters crash on an instruction that the processor does not support, and a signal
    # that kills cannot be caught. A fork that only waits takes 4 ms (median of 200 on a busy x86
    # machine of two cores). Trying the interpreter in a child first would take as long as opening
    # the model.
    if not hasattr(os, "fork"):
        yield
        return
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns about forks beside NumPy's threads; this child takes no lock.
        warnings.simplefilter("ignore")
        child = os.fork()
    if child == 0:
        os.close(write_end)
        _wait(read_end, model)
    os.close(read_end)
    try:
        yield
    finally:
        os.write(write_end, b".")
        os.close(write_end)
        os.waitpid(child, 0)


def _wait(read_end: int, model: Path) -> None:
    """Exit when the parent writes a byte; run the doctor if it dies first. Never returns."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
        if os.read(read_end, 1):
            os._exit(0)
        text = f"error: the process died while it opened {model}; 'unet-edge doctor' reports:\n"
        os.write(2, text.encode())
        os.dup2(2, 1)
        arguments = [sys.executable, "-P", "-m", "unet_edge", "doctor", str(model)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        os.execve(sys.executable, arguments, environment)
    finally:
        os._exit(1)
