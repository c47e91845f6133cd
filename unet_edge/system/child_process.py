"""A module of ours in a process of its own: a request in, what it answered and how it ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ChildResult:
    """What a child wrote on standard output, and how it ended: None is a timeout."""

    output: str
    log: str
    code: int | None

    @property
    def signal(self) -> str | None:
        """The name of the signal that killed it, if one did."""
        return None if self.code is None or self.code >= 0 else signal.Signals(-self.code).name

    @property
    def failure(self) -> str:
        """What to say of a child that ended without an answer."""
        if self.code is None:
            return "gave no answer in time"
        if self.signal:
            hint = " (as when memory runs out)" if self.signal == "SIGKILL" else ""
            return f"died with signal {self.signal}{hint}"
        last = (self.log.strip() or "no message").splitlines()[-1]
        return f"ended with exit code {self.code}: {last}"


def run_child(module: str, request: Any, timeout: float | None = None) -> ChildResult:
    """Run `module` with the request as JSON on its standard input, `timeout` seconds at most."""
    # The child imports what this process would, and nothing from the folder it stands in (-P).
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        # On Ctrl-C and on a timeout, `run` kills the child before it raises.
        child = subprocess.run(
            [sys.executable, "-P", "-m", module],
            input=json.dumps(request).encode(),
            capture_output=True,
            check=False,
            env=environment,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as late:
        return ChildResult(_decoded(late.stdout), _decoded(late.stderr), None)
    return ChildResult(_decoded(child.stdout), _decoded(child.stderr), child.returncode)


def answer_pipe() -> int:
    """In the child: a descriptor for the answer, alone.

    Whatever libraries print, from Python or C++, goes to standard error from now on.
    """
    answer = os.dup(1)
    os.dup2(2, 1)
    return answer


def _decoded(data: bytes | None) -> str:
    return (data or b"").decode(errors="replace")
