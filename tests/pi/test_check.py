"""What `make test-pi` copies to the emulated boards is there, and imports no other helper."""

import re

from paths import ROOT

from benchmarks.pi.check import HELPERS, TESTS

SUPPORT = {path.stem for path in (ROOT / "tests" / "support").glob("*.py")}


def test_the_tests_and_all_of_their_helpers_are_copied():
    copied = {name.removeprefix("support/").removesuffix(".py") for name in HELPERS}
    for name in ("conftest.py", *HELPERS, *TESTS):
        text = (ROOT / "tests" / name).read_text(encoding="utf-8")
        imported = set(re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE))
        assert imported & SUPPORT <= copied, name
