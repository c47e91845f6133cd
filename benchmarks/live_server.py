"""A live server in a process of its own, for the campaigns."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class ServerProcess:
    """A server that is ready: its address, its port and its process."""

    address: str
    port: int
    process: int


@contextmanager
def server_process(arguments: Sequence[str]) -> Iterator[ServerProcess]:
    """Start `unet-edge ARGUMENTS` on a free port, and end it as Ctrl-C does."""
    command = [sys.executable, "-m", "unet_edge", *arguments, "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            yield ServerProcess(ready["address"], ready["port"], process.pid)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)
