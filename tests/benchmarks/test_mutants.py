"""Mutated manifests and contracts with right digests: refused in one line, or the same masks."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from paths import SMALL_BUNDLE

from benchmarks.mutants import Mutants


@pytest.mark.parametrize("seed", range(4))
def test_mutants_are_refused_or_give_the_same_masks(tmp_path: Path, seed: int) -> None:
    mutants = Mutants(SMALL_BUNDLE, tmp_path / "mutants")
    results = []
    for index in range(150):
        changes = mutants.mutate(random.Random(1000 * seed + index))
        results.append(mutants.judge())
        assert not results[-1][:3].isupper(), (changes, results[-1])
    assert results.count("refused") > 100
    assert "the same masks" in results
