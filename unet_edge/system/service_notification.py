"""Messages to systemd: ready, status, watchdog (sd_notify(3)), without its library."""

from __future__ import annotations

import os
import socket

_MICROSECONDS = 1e-6


def notify(message: str) -> bool:
    """Send a message such as "READY=1"; False without systemd, or if it does not listen."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    # An @ stands for the NUL of Linux' abstract names.
    name = b"\0" + os.fsencode(address[1:]) if address[0] == "@" else os.fsencode(address)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
            to.connect(name)
            to.send(message.encode())
    except OSError:
        return False
    return True


def writes_to_journal() -> bool:
    """Whether standard output is kept in systemd's journal (JOURNAL_STREAM, systemd.exec(5))."""
    try:
        status = os.fstat(1)
    except OSError:  # closed
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def watchdog_interval() -> float | None:
    """Seconds between two WATCHDOG=1, half of what systemd allows; None if it watches nobody."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    text = os.environ.get("WATCHDOG_USEC", "")
    return int(text) * _MICROSECONDS / 2 if text.isdigit() and int(text) > 0 else None
