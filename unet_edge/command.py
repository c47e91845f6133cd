"""The `unet-edge` command as the shell starts it: standard streams, Ctrl-C, the command line.

This module imports next to nothing, so that Ctrl-C while modules load prints one line and no
traceback.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # as in `unet_edge`
if TYPE_CHECKING:
    from typing import Any

_RETRY = 0.05  # s


def main() -> None:
    """Run the command line and exit with its status."""
    keep_interrupts()
    try:
        prepare_streams()
        from unet_edge.cli import main as command_line

        _silence_pillow()
        command_line(prog_name="unet-edge")
    except KeyboardInterrupt:  # while modules load, or at the end
        sys.stderr.write("\ninterrupted\n")
        sys.exit(130)
    except OSError as error:  # while click prints help, or modules load
        from unet_edge.system.os_errors import os_error_line

        sys.stderr.write(f"error: {os_error_line(error)}\n")
        sys.exit(1)
    finally:
        _discard_unwritable_output()


def _discard_unwritable_output() -> None:
    """Discard output that cannot be written: Python's flush at its end would fail again."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def prepare_streams() -> None:
    r"""Open closed standard streams; escape characters that a stream cannot encode, as `\u732b`.

    A file that is opened later would get the number of a closed stream, and interpreters would
    print into it. Printing to a closed standard output raises OSError, as does reading a closed
    standard input. What goes to a closed standard error is discarded.
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
    """Raise Ctrl-C again where Python drops exceptions, such as in garbage collection.

    JAX has a callback there. Python would only print a KeyboardInterrupt raised inside it.
    """
    before = sys.unraisablehook

    def hook(dropped: Any) -> None:
        if dropped.exc_type is not KeyboardInterrupt:
            before(dropped)
            return
        import _thread
        import threading

        # Later: here it would be dropped again. If that happens later too, this hook runs again.
        timer = threading.Timer(_RETRY, _thread.interrupt_main)
        timer.daemon = True
        timer.start()

    sys.unraisablehook = hook


def _silence_pillow() -> None:
    """Hide Pillow's warnings about damaged pictures: our errors say what is wrong."""
    import warnings

    if not sys.warnoptions:
        warnings.filterwarnings("ignore", module=r"PIL\.")
