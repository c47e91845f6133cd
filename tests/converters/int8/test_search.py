from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from converters.int8.search import Budget, Search, SearchResult
from converters.tflite.check import operators
from unet_edge.bundle.search_record import SearchCandidate
from unet_edge.errors import ConfigError
from unet_edge.evaluation.verification import ReferenceMask
from unet_edge.runtime.backends.keras_model import KerasBackend
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.spec import ModelSpec

Pictures = NDArray[np.uint8]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def search(hard: Any, spec: ModelSpec, calibration: list[Pictures], pictures: Pictures) -> Any:
    segmenter = Segmenter(spec, KerasBackend(hard), "Keras")
    masks = [segmenter.segment(picture).labels for picture in pictures]

    def references(label: str) -> Iterator[ReferenceMask]:
        assert label.startswith("proving ")
        for index, (picture, mask) in enumerate(zip(pictures, masks, strict=True)):
            yield ReferenceMask(str(index), picture, mask, mask)

    def make(budget: Budget, **settings: Any) -> SearchResult:
        # Keras' masks are the truth here, so its own mIoU is 1.
        return Search(hard, spec, calibration, references, 1.0, budget, **settings).run()

    return make


@pytest.fixture(scope="module")
def result(search: Any) -> Any:
    return search(Budget(0.99), fine_tune_steps=0)


def by_recipe(result: SearchResult) -> dict[str, SearchCandidate]:
    return {candidate.recipe: candidate for candidate in result.candidates}


def test_a_model_that_plain_int8_ruins_is_repaired(result: SearchResult) -> None:
    assert by_recipe(result)["full integer"].agreement < 0.98
    assert by_recipe(result)["int8"].agreement < 0.98
    repaired = [c for c in result.candidates if c.float_layers and c.holds]
    assert repaired, "no file with layers in float holds 99 %"
    assert repaired[0].agreement >= 0.99


def test_the_layers_with_the_largest_error_are_named(
    result: SearchResult, hard_layers: tuple[str, str]
) -> None:
    (worst, error), (_, second) = list(result.errors.items())[:2]
    assert worst == hard_layers
    assert error > 3 * second
    first = by_recipe(result)["int8, 11 layers in float"]
    assert first.float_layers[-2:] == hard_layers


def test_the_fastest_file_that_holds_is_kept(result: SearchResult) -> None:
    kept = result.kept
    assert kept is not None
    assert kept.holds
    assert kept.ms == min(c.ms for c in result.candidates if c.holds)
    assert [c.kept for c in result.candidates].count(True) == 1
    assert result.data is not None
    assert len(result.data) == kept.bytes
    if kept.float_layers:
        assert operators(result.data)["DEQUANTIZE"] > 0


def test_the_pareto_front_has_the_undominated_candidates(result: SearchResult) -> None:
    for candidate in result.candidates:
        beaten = [other for other in result.candidates if other.dominates(candidate)]
        assert candidate.pareto == (not beaten)
    # No candidate is as close as float32.
    assert by_recipe(result)["float32"].pareto
    assert {"dynamic", "float16", "float32"} <= set(by_recipe(result))


def test_with_an_easy_budget_full_integer_is_the_only_int8_recipe(search: Any) -> None:
    result = search(Budget(0.5))
    assert [c.recipe for c in result.candidates] == [
        "full integer",
        "dynamic",
        "float16",
        "float32",
    ]
    assert result.errors == {}


def test_the_drop_of_miou_counts_too(search: Any, result: SearchResult) -> None:
    int8 = by_recipe(result)["int8"]
    assert int8.miou_drop is not None
    assert int8.miou_drop > 1
    # int8 holds this agreement, but not this drop of mIoU.
    strict = search(Budget(int8.agreement - 0.01, max_miou_drop=0.5), fine_tune_steps=0)
    assert not by_recipe(strict)["int8"].holds
    assert strict.kept is not None
    assert strict.kept.miou_drop is not None
    assert strict.kept.miou_drop <= 0.5


def test_without_a_file_in_the_budget_none_is_kept(search: Any, monkeypatch: Any) -> None:
    # A budget of 1: with ties, not even float32 has all of Keras' labels.
    monkeypatch.setattr("converters.int8.search.PAIRS", ())
    result = search(Budget(1.0, max_miou_drop=0), fine_tune_steps=1)
    recipes = [c.recipe for c in result.candidates]
    assert "int8, fine-tuned" in recipes
    assert recipes[-1] == "int16x8"
    holding = [c for c in result.candidates if c.holds]
    assert (result.kept is None) == (not holding)
    assert (result.data is None) == (not holding)


@pytest.mark.parametrize("budget", [(0, None), (1.1, None), (99.8, None), (0.9, -1)])
def test_a_budget_is_a_share_and_a_drop(budget: Any) -> None:
    with pytest.raises(ConfigError, match=r"min-agreement is|max-miou-drop is"):
        Budget(*budget)
