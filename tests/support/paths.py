"""Paths of this checkout, the committed test data, and the support of tests."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
SUPPORT = ROOT / "tests" / "support"
DATA = ROOT / "tests" / "data"
JPEGS = DATA / "jpeg"
SMALL_BUNDLE = DATA / "small-bundle"
