"""What an OSError is about, in one line."""

from __future__ import annotations

from unet_edge.system.printable import printable


def what_failed(error: OSError) -> str:
    """The file or stream that an error is of and the reason, in one line."""
    reason = error.strerror or error
    if error.filename is not None:
        return f"cannot use {printable(error.filename)}: {printable(reason)}"
    trace = error.__traceback__
    while trace:  # an error of a stream names no file: see whether click was printing
        if trace.tb_frame.f_code.co_name == "echo":
            return f"cannot write to standard output: {reason}"
        trace = trace.tb_next
    return f"cannot use a file: {printable(reason)}"
