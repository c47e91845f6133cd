"""Search: the fastest .tflite file whose masks are close enough to Keras'.

Recipes in the order tried: full integer; int8 as `export` writes it; int8 with the
layers that cost most in float too; int8 after fine-tuning; int8 weights with int16 activations; and
the float files, which hold nearly any budget. Each is proven on the user's held-out pictures and
timed beside the others.

Of the peers, Optimum and Ultralytics write the one int8 file that comes out; TensorFlow's
QuantizationDebugger and Polygraphy's precision bisection point at layers and leave it to the
reader to choose, to convert again and to look whether that helped.
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

from converters.float_layers import float_layers_of
from converters.int8.correction import correct_channels
from converters.int8.fine_tuning import fine_tune
from converters.int8.fitting import fit_to_int8
from converters.tflite.conversion import dynamic_float_layers, to_tflite
from converters.tflite.int8 import Int8Converter
from unet_edge.bundle.search_record import LayerError, SearchCandidate, SearchRecord
from unet_edge.errors import ConfigError
from unet_edge.evaluation.verification import ReferenceMask, Verification, verify
from unet_edge.model_files.embedded_contract import Precision
from unet_edge.percent import percent
from unet_edge.runtime.backends.backend import Backend, to_logits
from unet_edge.runtime.interpreter_choice import open_backend
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.spec import ModelSpec
from unet_edge.system.progress import progress, progress_bar

PAIRS = (1, 2, 4, 8)
"""How many pairs of neighbouring layers are tried in float, worst first."""

_ERROR_PICTURES = 8
_ROUNDS = 20

References = Callable[[str], Iterable[ReferenceMask]]
"""Starts a pass over the pictures to prove a file on, under a progress bar of that name."""


@dataclass(frozen=True)
class Budget:
    """What a file may give up.

    `min_agreement`: the least share of pixels (0..1) equal to Keras'; `max_miou_drop`: the most
    points (of 100) of mIoU against the true labels, None for any.
    """

    min_agreement: float
    max_miou_drop: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.min_agreement <= 1:
            raise ConfigError(
                f"min-agreement is {self.min_agreement}",
                fix="it is a share above 0, to 1",
            )
        if self.max_miou_drop is not None and self.max_miou_drop < 0:
            raise ConfigError(
                f"max-miou-drop is {self.max_miou_drop}",
                expected="it must be 0 or above",
            )

    def holds(self, proof: Verification, keras_miou: float) -> bool:
        """Whether a file that was proven keeps to it; `keras_miou` is 0..1."""
        drop = miou_drop(proof, keras_miou)
        small = drop is None or self.max_miou_drop is None or drop <= self.max_miou_drop
        return proof.agreement >= self.min_agreement and small


@dataclass(frozen=True)
class Found:
    """What a search came to: all candidates, and the bytes of the kept one, without contract.

    `errors`: for each pair of neighbouring layers what leaving both in float takes off the
    divergence (nats a pixel) between class probabilities in int8 and in float, worst first. Empty
    when int8 held the budget.
    """

    candidates: tuple[SearchCandidate, ...]
    data: bytes | None
    errors: dict[tuple[str, str], float]

    budget: Budget

    def record(self) -> SearchRecord:
        """All but the bytes, as the bundle keeps it."""
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
    """Tries recipes on one model; `run` is the whole of it."""

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
        """`calibration`: grids of training pictures, uint8 (H, W, 3); `keras_miou`: 0..1."""
        self._model = model
        self._spec = spec
        self._calibration = calibration
        self._references = references
        self._keras_miou = keras_miou
        self._budget = budget
        self._steps = fine_tune_steps
        self._say = say
        self._tried: list[tuple[SearchCandidate, bytes, Backend]] = []

    def run(self) -> Found:
        """Try recipes until one holds, then time all that were tried and keep the fastest.

        Raises ConversionError when a recipe cannot be converted.
        """
        errors: dict[tuple[str, str], float] = {}
        kept = float_layers_of(self._model)
        held = kept != () and self._try_int8("full integer", ())
        if not held and not self._try_int8("int8", kept):
            errors = self._pair_errors()
            worst = [" and ".join(pair) for pair in list(errors)[:3]]
            self._say(f"layers that cost int8 most: {'; '.join(worst)}")
            if not self._leave_in_float(kept, list(errors)) and self._steps:
                start = correct_channels(self._model, self._calibration, kept)
                tuned = fine_tune(
                    self._model, start, self._calibration, steps=self._steps, float_layers=kept
                )
                converter = Int8Converter(tuned, self._spec, self._calibration)
                self._try("int8, fine-tuned", "int8", converter.convert(kept), kept)
        for precision in ("dynamic", "float16", "float32"):
            source = self._model
            if precision == "dynamic":
                whole = dynamic_float_layers(self._model)
                source = correct_channels(self._model, self._calibration, whole)
            self._try(precision, precision, to_tflite(source, self._spec, precision))
        if not any(candidate.holds for candidate, _, _ in self._tried[:-2]):
            corrected = correct_channels(self._model, self._calibration)
            data = to_tflite(corrected, self._spec, "int16x8", self._calibration)
            self._try("int16x8", "int16x8", data)
        return self._chosen(errors)

    def _try_int8(self, recipe: str, float_layers: tuple[str, ...]) -> bool:
        # Fitted for each choice: gains made for the rounding of a layer do harm without it.
        fitted = fit_to_int8(self._model, self._calibration, float_layers)
        converter = Int8Converter(fitted, self._spec, self._calibration)
        return self._try(recipe, "int8", converter.convert(float_layers), float_layers)

    def _leave_in_float(self, kept: tuple[str, ...], worst: Sequence[tuple[str, str]]) -> bool:
        """Try int8 with more and more pairs of layers in float beside the stem, until one holds."""
        for count in (number for number in PAIRS if number <= len(worst)):
            # Once each: pairs overlap.
            names = (*kept, *(name for pair in worst[:count] for name in pair))
            layers = tuple(dict.fromkeys(names))
            if self._try_int8(f"int8, {len(layers)} layers in float", layers):
                return True
        return False

    def _pair_errors(self) -> dict[tuple[str, str], float]:
        """What each pair of layers in float takes off int8's divergence, largest first.

        Pairs, because a layer alone in float still reads rounded values and leaves some; between
        two neighbours there are none. Of the model as it is: correction would have one layer make
        up for another.
        """
        converter = Int8Converter(self._model, self._spec, self._calibration)
        kept = float_layers_of(self._model)
        grids = self._calibration[:_ERROR_PICTURES]
        wanted = [_log_softmax(np.asarray(self._model(grid[None]))[0]) for grid in grids]

        def divergence(data: bytes) -> float:
            backend = open_backend(data, "tflite")
            total = 0.0
            for grid, log in zip(grids, wanted, strict=True):
                found = _log_softmax(to_logits(backend.scores(grid), backend))
                total += float((np.exp(log) * (log - found)).sum(-1).mean())
            return total / len(grids)

        plain = divergence(converter.convert(kept))
        pairs = list(itertools.pairwise(converter.layers))
        gains = {
            pair: plain - divergence(converter.convert(tuple(dict.fromkeys((*kept, *pair)))))
            for pair in progress(pairs, "error of each layer")
            if not set(pair) <= set(kept)
        }
        return dict(sorted(gains.items(), key=lambda item: -item[1]))

    def _try(
        self,
        recipe: str,
        precision: Precision,
        data: bytes,
        float_layers: tuple[str, ...] = (),
    ) -> bool:
        """Prove a file and note it; say whether it holds the budget."""
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

    def _chosen(self, errors: dict[tuple[str, str], float]) -> Found:
        times: list[list[float]] = [[] for _ in self._tried]
        grid = self._calibration[0]
        bar = progress_bar(_ROUNDS, "timing")
        for _ in range(_ROUNDS):
            # In turn, so that a machine that slows down slows all of them.
            for laps, (_, _, backend) in zip(times, self._tried, strict=True):
                start = time.perf_counter()
                backend.scores(grid)
                laps.append(1e3 * (time.perf_counter() - start))
            bar.update()
        bar.close()
        timed = [
            dataclasses.replace(candidate, ms=float(np.median(laps[1:])))
            for (candidate, _, _), laps in zip(self._tried, times, strict=True)
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
        return Found(candidates, data, errors, self._budget)


def miou_drop(proof: Verification, keras_miou: float) -> float | None:
    """Points of mIoU that a file loses against Keras' 0..1; None without true labels."""
    found = proof.label_miou
    if found is None or math.isnan(found) or math.isnan(keras_miou):
        return None
    return 100 * (keras_miou - found)


def _log_softmax(scores: NDArray[Any]) -> NDArray[np.float64]:
    shifted = scores.astype(np.float64) - scores.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))
