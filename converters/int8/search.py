"""Search for the fastest .tflite file whose masks are close enough to Keras' masks.

Recipes in their order: full integer; int8 as `export` writes it; int8 with the worst layers in
float too; int8 after fine-tuning; dynamic and float files, which hold nearly any budget; int8
weights with int16 activations. Each file is proven on held-out pictures, and all are timed in
turns. See docs/decisions/034-int8-search.md.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from converters.device_graph.rewriting import for_device
from converters.float_layers import float_layers_of
from converters.int8.correction import correct_channels
from converters.int8.fine_tuning import fine_tune
from converters.int8.fitting import fit_to_int8
from converters.tflite.conversion import dynamic_float_layers, to_tflite
from converters.tflite.int8 import Int8Converter
from unet_edge.bundle.search_record import LayerError, SearchCandidate, SearchRecord
from unet_edge.errors import ConfigError, ConversionError
from unet_edge.evaluation.verification import ReferenceMask, Verification, verify
from unet_edge.model_files.embedded_contract import Precision
from unet_edge.percent import percent
from unet_edge.runtime.backends.backend import Backend, to_logits
from unet_edge.runtime.interpreter_choice import open_backend
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.spec import ModelSpec
from unet_edge.system.counting import counted
from unet_edge.system.progress import progress, progress_bar

PAIRS = (1, 2, 4, 8)
"""Numbers of pairs of neighbouring layers to leave in float, worst pairs first."""

_ERROR_PICTURES = 8
_ROUNDS = 20

References = Callable[[str], Iterable[ReferenceMask]]
"""Starts a pass over the pictures to prove a file on; the text names its progress bar."""


@dataclass(frozen=True)
class Budget:
    """The limits of a file's error.

    `min_agreement`: the least share of pixels (0..1) equal to Keras'. `max_miou_drop`: the most
    points (of 100) of mIoU against the true labels that a file may lose, None for any.
    """

    min_agreement: float
    max_miou_drop: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.min_agreement <= 1:
            raise ConfigError(
                f"min-agreement is {self.min_agreement}",
                expected="expected a share above 0 and at most 1",
            )
        if self.max_miou_drop is not None and self.max_miou_drop < 0:
            raise ConfigError(
                f"max-miou-drop is {self.max_miou_drop}",
                expected="expected 0 or more",
            )

    def holds(self, proof: Verification, keras_miou: float) -> bool:
        """Whether a proven file is within the limits; `keras_miou` is 0..1."""
        drop = miou_drop(proof, keras_miou)
        small = drop is None or self.max_miou_drop is None or drop <= self.max_miou_drop
        return proof.agreement >= self.min_agreement and small


@dataclass(frozen=True)
class SearchResult:
    """All candidates of a search, and the bytes of the kept one without contract.

    `errors` has pairs of neighbouring layers, worst first. The value says by how much the
    divergence (nats a pixel) between class probabilities of int8 and float falls if both layers
    stay in float. It is empty if int8 held the budget.
    """

    candidates: tuple[SearchCandidate, ...]
    data: bytes | None
    errors: dict[tuple[str, str], float]

    budget: Budget

    def record(self) -> SearchRecord:
        """The result without the bytes, for the manifest."""
        return SearchRecord(
            min_agreement=self.budget.min_agreement,
            max_miou_drop=self.budget.max_miou_drop,
            errors=tuple(LayerError(pair, error) for pair, error in self.errors.items()),
            candidates=self.candidates,
        )

    @property
    def kept(self) -> SearchCandidate | None:
        """The fastest candidate that holds the budget, or None."""
        return next((candidate for candidate in self.candidates if candidate.kept), None)


class Search:
    """A search on one model; call `run` once."""

    def __init__(
        self,
        model: keras.Model,
        spec: ModelSpec,
        calibration: Sequence[NDArray[np.uint8]],
        references: References,
        keras_miou: float,
        budget: Budget,
        *,
        fine_tune_steps: int = 300,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`calibration`: grids of training pictures, uint8 (H, W, 3); `keras_miou`: 0..1.

        `say` gets a line of text on each file.
        """
        self._model = for_device(model, "tflite")
        self._spec = spec
        self._calibration = calibration
        self._references = references
        self._keras_miou = keras_miou
        self._budget = budget
        self._steps = fine_tune_steps
        self._say = say
        self._tried: list[tuple[SearchCandidate, bytes, Backend]] = []

    def run(self) -> SearchResult:
        """Try recipes, and keep the fastest file that holds the budget.

        Raises ConversionError when a recipe cannot be converted.
        """
        errors: dict[tuple[str, str], float] = {}
        float_layers = float_layers_of(self._model)
        held = float_layers != () and self._try_int8("full integer", ())
        if not held and not self._try_int8("int8", float_layers):
            errors = self._pair_errors()
            worst = [" and ".join(pair) for pair in list(errors)[:3]]
            self._say(f"layers with the largest error in int8: {'; '.join(worst)}")
            if not self._leave_pairs_in_float(float_layers, list(errors)) and self._steps:
                self._try_fine_tuned(float_layers)
        corrected = self._corrected(dynamic_float_layers(self._model))
        self._try("dynamic", "dynamic", to_tflite(corrected, self._spec, "dynamic"))
        for precision in ("float16", "float32"):
            self._try(precision, precision, to_tflite(self._model, self._spec, precision))
        if not any(candidate.holds for candidate, _, _ in self._tried[:-2]):
            self._try_int16x8()
        return self._result(errors)

    def _try_int16x8(self) -> None:
        try:
            data = to_tflite(self._corrected(()), self._spec, "int16x8", self._calibration)
        except ConversionError as error:
            # The converter knows fewer layers in 16 bits, and this is the slowest recipe.
            self._say(f"int16x8: left out, {error}")
            return
        self._try("int16x8", "int16x8", data)

    def _corrected(self, float_layers: tuple[str, ...]) -> keras.Model:
        return correct_channels(self._model, self._calibration, float_layers)

    def _try_fine_tuned(self, float_layers: tuple[str, ...]) -> None:
        tuned = fine_tune(
            self._model,
            self._corrected(float_layers),
            self._calibration,
            steps=self._steps,
            float_layers=float_layers,
        )
        converter = Int8Converter(tuned, self._spec, self._calibration)
        self._try("int8, fine-tuned", "int8", converter.convert(float_layers), float_layers)

    def _try_int8(self, recipe: str, float_layers: tuple[str, ...]) -> bool:
        # Fitted for each choice: gains that compensate for a layer's rounding do harm without it.
        fitted = fit_to_int8(self._model, self._calibration, float_layers)
        converter = Int8Converter(fitted, self._spec, self._calibration)
        return self._try(recipe, "int8", converter.convert(float_layers), float_layers)

    def _leave_pairs_in_float(
        self, float_layers: tuple[str, ...], worst: Sequence[tuple[str, str]]
    ) -> bool:
        """Try int8 with more and more of the worst pairs in float too, until a file holds."""
        for count in (number for number in PAIRS if number <= len(worst)):
            names = (*float_layers, *(name for pair in worst[:count] for name in pair))
            layers = tuple(dict.fromkeys(names))  # pairs overlap
            if self._try_int8(f"int8, {counted(len(layers), 'layer')} in float", layers):
                return True
        return False

    def _pair_errors(self) -> dict[tuple[str, str], float]:
        """By how much each pair of layers in float lowers int8's divergence, largest first."""
        # Pairs: a single layer in float still reads and writes rounded tensors. The model is not
        # corrected, because a correction compensates for other layers' errors.
        converter = Int8Converter(self._model, self._spec, self._calibration)
        float_layers = float_layers_of(self._model)
        grids = self._calibration[:_ERROR_PICTURES]
        references = [
            _log_softmax(np.asarray(self._model(grid[None], training=False))[0]) for grid in grids
        ]

        def divergence(data: bytes) -> float:
            backend = open_backend(data, "tflite")
            total = 0.0
            for grid, expected in zip(grids, references, strict=True):
                actual = _log_softmax(to_logits(backend.scores(grid), backend))
                total += float((np.exp(expected) * (expected - actual)).sum(-1).mean())
            return total / len(grids)

        def with_pair(pair: tuple[str, str]) -> bytes:
            return converter.convert(tuple(dict.fromkeys((*float_layers, *pair))))

        without = divergence(converter.convert(float_layers))
        pairs = list(itertools.pairwise(converter.layers))
        gains = {
            pair: without - divergence(with_pair(pair))
            for pair in progress(pairs, "error of each layer")
            if not set(pair) <= set(float_layers)
        }
        return dict(sorted(gains.items(), key=lambda item: -item[1]))

    def _try(
        self,
        recipe: str,
        precision: Precision,
        data: bytes,
        float_layers: tuple[str, ...] = (),
    ) -> bool:
        """Prove a file and record it; returns whether it holds the budget."""
        backend = open_backend(data, "tflite")
        proof = verify(
            Segmenter(self._spec, backend, recipe),
            self._references(f"proving {recipe}"),
            floor=self._budget.min_agreement,
        )
        drop = miou_drop(proof, self._keras_miou)
        candidate = SearchCandidate(
            recipe, precision, float_layers, len(data), proof.agreement, proof.worst, drop,
            ms=float("nan"), holds=self._budget.holds(proof, self._keras_miou),
        )  # fmt: skip
        self._tried.append((candidate, data, backend))
        mark = "holds" if candidate.holds else "does not hold"
        share = percent(candidate.agreement)
        self._say(f"{recipe}: {share} % of pixels as Keras, {mark} the budget")
        return candidate.holds

    def _times_ms(self) -> list[float]:
        """The median time of each file tried."""
        times: list[list[float]] = [[] for _ in self._tried]
        grid = self._calibration[0]
        bar = progress_bar(_ROUNDS, "timing")
        for _ in range(_ROUNDS):
            # In turns: a machine that slows down slows all files alike.
            for laps, (_, _, backend) in zip(times, self._tried, strict=True):
                start = time.perf_counter()
                backend.scores(grid)
                laps.append(1e3 * (time.perf_counter() - start))
            bar.update()
        bar.close()
        return [float(np.median(laps[1:])) for laps in times]

    def _result(self, errors: dict[tuple[str, str], float]) -> SearchResult:
        """Time the files tried, and keep the fastest that holds the budget."""
        timed = [
            dataclasses.replace(candidate, ms=ms)
            for (candidate, _, _), ms in zip(self._tried, self._times_ms(), strict=True)
        ]
        holding = [candidate for candidate in timed if candidate.holds]
        best = min(holding, key=lambda candidate: candidate.ms, default=None)
        candidates = tuple(
            dataclasses.replace(
                candidate,
                pareto=not any(other.dominates(candidate) for other in timed),
                kept=candidate is best,
            )
            for candidate in timed
        )
        data = None if best is None else self._tried[timed.index(best)][1]
        return SearchResult(candidates, data, errors, self._budget)


def miou_drop(proof: Verification, keras_miou: float) -> float | None:
    """Points of mIoU that a file loses against `keras_miou`, 0..1; None without true labels."""
    miou = proof.label_miou
    if miou is None or math.isnan(miou) or math.isnan(keras_miou):
        return None
    return 100 * (keras_miou - miou)


def _log_softmax(scores: NDArray[Any]) -> NDArray[np.float64]:
    shifted = scores.astype(np.float64) - scores.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))
