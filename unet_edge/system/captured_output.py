"""Silence for the chatter of TensorFlow, converters and interpreters; an error keeps its tail.

One conversion prints hundreds of lines: Python warnings, absl and tf2onnx logs, and C++ log
lines that go straight to file descriptors 1 and 2, past anything Python could redirect.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator

TAIL = 20
"""How many of the last captured lines an escaping exception carries."""


@contextlib.contextmanager
def captured_output() -> Iterator[None]:
    """Swallow what the block prints, on whatever channel; an exception takes the tail along.

    The tail is a note on the exception (`__notes__`), so a traceback shows it. The redirection
    belongs to the process: use it in one thread at a time. Logging below ERROR is switched off.
    """
    # Unbuffered, so that lines from Python and from C++ keep their order.
    with tempfile.TemporaryFile(buffering=0) as log:
        try:
            with _muted_logging(), warnings.catch_warnings(), _redirected(log):
                warnings.simplefilter("ignore")
                yield
        except Exception as error:  # whatever it was: it is raised again, with a note
            if tail := _tail(log):
                error.add_note(f"Last output:\n{tail}")
            raise


@contextlib.contextmanager
def native_stderr_discarded() -> Iterator[None]:
    """Swallow what native code prints on standard error, such as libtiff; Python still prints.

    The redirection belongs to the process.
    """
    before = sys.stderr
    try:
        own = before.fileno() == 2
        kept = os.dup(2)
    except (AttributeError, OSError, ValueError):  # a notebook's or a test's; or closed
        yield
        return
    _flush()
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        if own:
            sys.stderr = os.fdopen(
                kept,
                "w",
                buffering=1,
                encoding=before.encoding,
                errors=before.errors,
                closefd=False,
            )
        os.dup2(sink, 2)
        yield
    finally:
        _flush()
        os.dup2(kept, 2)
        sys.stderr = before
        os.close(kept)
        os.close(sink)


@contextlib.contextmanager
def _redirected(log: io.FileIO) -> Iterator[None]:
    """Point sys.stdout, sys.stderr and the descriptors 1 and 2 at `log`.

    Both levels are needed: under pytest or in a notebook, sys.stdout is an object that writes
    elsewhere than to descriptor 1.
    """
    text = io.TextIOWrapper(log, encoding="utf-8", errors="replace", write_through=True)
    try:
        with contextlib.ExitStack() as stack:
            for fd in (1, 2):
                stack.enter_context(_descriptor(fd, log.fileno()))
            stack.enter_context(contextlib.redirect_stdout(text))
            stack.enter_context(contextlib.redirect_stderr(text))
            yield
    finally:
        text.detach()  # leaves `log` open


@contextlib.contextmanager
def _descriptor(fd: int, target: int) -> Iterator[None]:
    """Make `fd` a copy of `target`, and give it back. A closed `fd` is left alone."""
    _flush()
    try:
        saved = os.dup(fd)
    except OSError:
        yield
        return
    try:
        os.dup2(target, fd)
        yield
    finally:
        _flush()
        os.dup2(saved, fd)
        os.close(saved)


def _flush() -> None:
    """Write out what Python has buffered, so that it lands on its own side of the switch."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        with contextlib.suppress(AttributeError, ValueError, OSError):  # None or closed
            stream.flush()  # type: ignore[union-attr]


@contextlib.contextmanager
def _muted_logging() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        yield
    finally:
        logging.disable(before)


def _tail(log: io.FileIO) -> str:
    log.seek(0)
    lines = log.read().decode("utf-8", errors="replace").splitlines()
    return "\n".join(lines[-TAIL:])
