"""A watch over the opening of a model: what kills a process leaves nobody to say why."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def vigil(model: Path) -> Iterator[None]:
    """See that a block which opens `model` ends; where the process dies in it, run the doctor.

    Some interpreters die of an instruction that the processor has not. A fork that does nothing
    but wait costs little (4 ms, median of 200 on a busy x86 machine of two cores); trying the
    interpreter in a process of its own beforehand would cost every start what opening costs.
    """
    if not hasattr(os, "fork"):
        yield
        return
    listen, tell = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns of forks beside NumPy's threads; this one takes no lock.
        warnings.simplefilter("ignore")
        watch = os.fork()
    if watch == 0:
        os.close(tell)
        _watch(listen, model)
    os.close(listen)
    try:
        yield
    finally:
        os.write(tell, b".")
        os.close(tell)
        os.waitpid(watch, 0)


def _watch(listen: int, model: Path) -> None:
    """Wait for a word or for the end of who should say it; never returns."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the other one
        if os.read(listen, 1):
            os._exit(0)
        text = f"error: the process died while it opened {model}; what 'unet-edge doctor' finds:\n"
        os.write(2, text.encode())
        os.dup2(2, 1)
        arguments = [sys.executable, "-P", "-m", "unet_edge", "doctor", str(model)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        os.execve(sys.executable, arguments, environment)
    finally:
        os._exit(1)
