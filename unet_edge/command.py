"""The `unet-edge` command as the shell starts it: streams and Ctrl-C, then the command line.

It imports next to nothing, so that Ctrl-C while modules load ends in a line, not in a traceback.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # as in `unet_edge`
if TYPE_CHECKING:
    from typing import Any

_AGAIN = 0.05  # seconds


def main() -> None:
    """Run the command line and exit with its status."""
    keep_interrupts()
    try:
        prepare_streams()
        from unet_edge.cli import main as command_line

        _quieten_pillow()
        command_line(prog_name="unet-edge")
    except KeyboardInterrupt:  # while modules were imported, or as it ended
        sys.stderr.write("\ninterrupted\n")
        sys.exit(130)
    except OSError as error:  # as click prints a help page, or as modules are imported
        from unet_edge.system.os_errors import os_error_line

        sys.stderr.write(f"error: {os_error_line(error)}\n")
        sys.exit(1)
    finally:
        _give_up_what_cannot_be_written()


def _give_up_what_cannot_be_written() -> None:
    """See that Python, which flushes standard output as it ends, does not complain once more."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def prepare_streams() -> None:
    """Open closed standard streams, and have what a stream cannot spell written as `\\u732b`.

    A file that is opened later would take a closed stream's number, and what interpreters print
    would go into it. Printing to a closed standard output, and reading closed standard input,
    raises OSError; standard error is thrown away.
    """
    for number, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # takes the lowest free number, which is this one
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, "r", closefd=False)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def keep_interrupts() -> None:
    """See that Ctrl-C is not lost where Python drops exceptions, such as garbage collection.

    JAX has a callback there, and a KeyboardInterrupt raised inside it would only be printed.
    """
    before = sys.unraisablehook

    def hook(dropped: Any) -> None:
        if dropped.exc_type is not KeyboardInterrupt:
            before(dropped)
            return
        import _thread
        import threading

        # Later: here it would be dropped once more. Where that happens, this is called again.
        timer = threading.Timer(_AGAIN, _thread.interrupt_main)
        timer.daemon = True
        timer.start()

    sys.unraisablehook = hook


def _quieten_pillow() -> None:
    """No warnings of damaged pictures on standard error: their errors say what is wrong."""
    import warnings

    if not sys.warnoptions:
        warnings.filterwarnings("ignore", module=r"PIL\.")
