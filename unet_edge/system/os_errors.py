"""An OSError as one line."""

from __future__ import annotations

from unet_edge.system.printable import printable


def os_error_line(error: OSError) -> str:
    """Name the file or stream that failed, and the reason."""
    reason = error.strerror or error
    if error.filename is not None:
        return f"cannot use {printable(error.filename)}: {printable(reason)}"
    trace = error.__traceback__
    while trace:  # an error of a stream names no file: look whether click was printing
        if trace.tb_frame.f_code.co_name == "echo":
            return f"cannot write to standard output: {reason}"
        trace = trace.tb_next
    return f"cannot use a file: {printable(reason)}"
