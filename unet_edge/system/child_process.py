"""Run a module of this package in a child process, with a JSON request."""

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
    """What a child process printed, and its exit code.

    `output` is its standard output and `log` its standard error. `code` is negative for a signal
    and None after a timeout.
    """

    output: str
    log: str
    code: int | None

    @property
    def signal(self) -> str | None:
        """The name of the signal that killed the child; None without one."""
        return None if self.code is None or self.code >= 0 else signal.Signals(-self.code).name

    @property
    def failure(self) -> str:
        """Why the child gave no answer, as the end of a sentence that begins with its name."""
        if self.code is None:
            return "gave no answer in time"
        if self.signal:
            hint = " (as when memory runs out)" if self.signal == "SIGKILL" else ""
            return f"died with signal {self.signal}{hint}"
        last = (self.log.strip() or "no message").splitlines()[-1]
        return f"ended with exit code {self.code}: {last}"


def run_child(module: str, request: Any, timeout: float | None = None) -> ChildResult:
    """Run `module` for at most `timeout` seconds, with the request as JSON on standard input."""
    # The child imports from where this process does, but not from the working directory (-P).
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
    """Return a descriptor that carries the child's answer to its parent; call it in the child.

    From then on, standard output goes to standard error, so libraries cannot mix with the answer.
    """
    answer = os.dup(1)
    os.dup2(2, 1)
    return answer


def _decoded(data: bytes | None) -> str:
    return (data or b"").decode(errors="replace")
