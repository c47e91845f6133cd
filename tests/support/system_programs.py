"""Programs of the system that tests drive: brokers, browsers, encoders."""

import os
import shutil

import pytest


def require_program(name: str, *, package: str) -> str:
    """The path of a program. Skips the test where it is missing; on CI the test fails."""
    if path := shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin"):
        return path
    reason = f"{name} is not installed; Debian's package is {package}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
