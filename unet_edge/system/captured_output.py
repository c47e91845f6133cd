"""Output of TensorFlow, converters and interpreters, kept from the terminal.

A conversion prints hundreds of lines: Python warnings, absl and tf2onnx logs, and lines that C++
writes to file descriptors 1 and 2, which `sys.stdout` and `sys.stderr` do not see.
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
"""How many of the last captured lines an exception takes along."""


@contextlib.contextmanager
def captured_output() -> Iterator[None]:
    """Hide what the block prints, from Python and C++; warnings and logs below ERROR are off.

    An exception gets the last lines as a note (`__notes__`), so that a traceback shows them. The
    redirection belongs to the process: use it in one thread at a time.
    """
    # Unbuffered, so that lines from Python and from C++ keep their order.
    with tempfile.TemporaryFile(buffering=0) as log:
        try:
            with _muted_logging(), warnings.catch_warnings(), _redirected(log):
                warnings.simplefilter("ignore")
                yield
        except Exception as error:  # any kind: it is raised again, with a note
            if tail := _tail(log):
                error.add_note(f"Last output:\n{tail}")
            raise


@contextlib.contextmanager
def native_stderr_discarded() -> Iterator[None]:
    """Discard what native code such as libtiff prints on standard error; Python still prints.

    The redirection belongs to the process: use it in one thread at a time.
    """
    before = sys.stderr
    try:
        is_descriptor_2 = before.fileno() == 2
        saved = os.dup(2)
    except (AttributeError, OSError, ValueError):  # closed, or replaced by a notebook or a test
        yield
        return
    _flush()
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        if is_descriptor_2:
            sys.stderr = os.fdopen(
                saved,
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
        os.dup2(saved, 2)
        sys.stderr = before
        os.close(saved)
        os.close(sink)


@contextlib.contextmanager
def _redirected(log: io.FileIO) -> Iterator[None]:
    """Point sys.stdout, sys.stderr and the descriptors 1 and 2 at `log`.

    Both levels are needed: under pytest or in a notebook, sys.stdout does not write to
    descriptor 1.
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
    """Make `fd` a copy of `target` while the block runs. A closed `fd` stays closed."""
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
    """Write out what Python has buffered, before the descriptors change."""
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
