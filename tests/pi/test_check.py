"""The test files that `make test-pi` copies to emulated boards exist, with all that they import."""

import re

from paths import ROOT

from benchmarks.pi.check import HELPERS, TESTS

SUPPORT = {path.stem for path in (ROOT / "tests" / "support").glob("*.py")}


def test_the_copied_tests_import_copied_modules_only():
    copied = {name.removeprefix("support/").removesuffix(".py") for name in HELPERS}
    for name in ("conftest.py", *HELPERS, *TESTS):
        text = (ROOT / "tests" / name).read_text(encoding="utf-8")
        imported = set(re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE))
        assert imported & SUPPORT <= copied, name
