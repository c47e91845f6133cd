"""Captured output: everything is hidden, and an exception gets the last lines."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings

import pytest

from unet_edge.system.captured_output import TAIL, captured_output


def test_all_output_is_hidden(capfd: pytest.CaptureFixture[str]) -> None:
    with captured_output():
        sys.stdout.write("print\n")
        sys.stderr.write("print to stderr\n")
        os.write(1, b"descriptor 1\n")
        os.write(2, b"descriptor 2\n")
        subprocess.run([sys.executable, "-c", "print('a child')"], check=True)
        warnings.warn("a warning", stacklevel=1)
        logging.getLogger("absl").warning("a log line")
    assert capfd.readouterr() == ("", "")


def test_output_is_shown_again_afterwards(capfd: pytest.CaptureFixture[str]) -> None:
    with captured_output():
        pass
    sys.stdout.write("print\n")
    os.write(2, b"descriptor 2\n")
    assert capfd.readouterr() == ("print\n", "descriptor 2\n")
    assert logging.getLogger().isEnabledFor(logging.WARNING)


def test_an_exception_gets_the_last_lines_as_a_note(capfd: pytest.CaptureFixture[str]) -> None:
    def converter() -> None:
        for line in range(TAIL):
            sys.stdout.write(f"line {line}\n")
        os.write(2, b"the reason, from C++\n")
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken") as caught, captured_output():
        converter()
    (note,) = caught.value.__notes__
    assert note.splitlines()[1] == "line 1"  # the last TAIL of TAIL + 1 lines
    assert note.splitlines()[-1] == "the reason, from C++"
    assert capfd.readouterr() == ("", "")


def test_it_can_be_nested(capfd: pytest.CaptureFixture[str]) -> None:
    with captured_output():
        with captured_output():
            sys.stdout.write("inner\n")
        os.write(1, b"outer\n")
    assert capfd.readouterr() == ("", "")


def test_it_works_without_standard_streams() -> None:
    """As in a service that closed its descriptors."""
    code = """
import os, sys
from unet_edge.system.captured_output import captured_output
os.close(1)
sys.stdout = None
with captured_output():
    os.write(2, b"hidden")
os.write(2, b"done")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stderr == b"done"
