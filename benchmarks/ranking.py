"""Measure whether labelling what `rank` chooses gives a better model than labelling at random.

    python -m benchmarks.ranking --data DIR --work DIR [--draws 5] [--steps 150]

DIR holds `data/feral_cat` and `weights/`. For each draw, trains a model on 25 cats at random,
orders the rest by each measure, and trains again on the 25 and the first 25 of each order, beside
25 more at random. Every model starts from ImageNet and is scored on the same test pictures. The
models of the 25 also say how well each measure orders the test pictures by their wrong pixels.
Finished models' figures are kept in --work, so that an interrupted campaign goes on.

Writes `benchmarks/reference/<machine>/ranking.{md,json}`.
"""

from __future__ import annotations

import json
import random
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import click
import keras
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.reporting import REFERENCE, named, page, spelled, table, write_report
from unet_edge.evaluation.ranking import rank
from unet_edge.evaluation.uncertainty import Aggregate, Measure, uncertainty
from unet_edge.images.decoding import decode
from unet_edge.images.mask_file import read_labels
from unet_edge.images.placement import resize_labels
from unet_edge.masks.metrics import Confusion
from unet_edge.runtime.backends.keras_model import KerasBackend
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.system.files import json_text, write_atomically
from unet_edge.system.timing import machine
from unet_edge.training.batch_norm import set_momentum
from unet_edge.training.batches import training_batches
from unet_edge.training.losses import objective
from unet_edge.training.models import build, load_encoder
from unet_edge.training.optimisation import build_optimizer
from unet_edge.training.settings.network import Network
from unet_edge.training.settings.train_config import TrainConfig

_CLASSES = ("background", "cat")
_LABELLED = 25  # pictures labelled first, and pictures labelled next
_EDGE = 160  # px, longer edge of the reduced pictures
_SIZE = 96  # px, the model's grid
_BATCH = 8

_RANDOM = "random"
_FIRST = "first"
_MEASURES: tuple[Measure, ...] = get_args(Measure)
_AGGREGATES: tuple[Aggregate, ...] = get_args(Aggregate)


@dataclass(frozen=True)
class Draw:
    """One draw: mIoU (0..1) on the test pictures by what was labelled, and rank correlations.

    `correlation` is that of the pictures' scores with their shares of wrong pixels (Spearman), by
    measure and aggregate.
    """

    miou: dict[str, float]
    correlation: dict[str, float]


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--work", type=click.Path(path_type=Path), required=True)
@click.option("--draws", type=click.IntRange(2), default=5, show_default=True)
@click.option("--steps", type=click.IntRange(20), default=150, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=REFERENCE)
def main(data: Path, work: Path, draws: int, steps: int, output: Path) -> None:
    """Run the campaign and write the report of this machine."""
    reduced = _reduced(data / "data" / "feral_cat", work / "cats")
    weights = data / "weights" / "mobilenet_2_5_224_tf_no_top.h5"
    trainer = _Trainer(reduced, weights, steps)
    kept = work / f"{steps}-steps"
    results = [
        _draw(trainer, reduced, kept / f"draw-{number}.json", number) for number in range(draws)
    ]
    facts = machine()
    target = named(output, facts, "ranking")
    report = {
        "machine": facts,
        "steps": steps,
        "draws": [asdict(one) for one in results],
    }
    write_report(target, report, _markdown(results, steps, facts))
    print(f"written: {target}.md and .json")


def _reduced(source: Path, target: Path) -> Path:
    """A copy of the cats at 160 px, which decodes in a fraction of the time."""
    if target.is_dir():
        return target
    unfinished = target.with_name(f"{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    for part in ("train", "test"):
        for folder in ("images", "masks"):
            (unfinished / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(source / f"{part}.txt", unfinished)
        for path in sorted((source / "images" / part).iterdir()):
            picture = decode(path)
            factor = _EDGE / max(picture.size)
            size = round(picture.width * factor), round(picture.height * factor)
            picture.resize(size, Image.Resampling.BOX).save(
                unfinished / "images" / f"{path.stem}.png"
            )
            labels = np.asarray(read_labels(source / "masks" / part / f"{path.stem}.png"))
            Image.fromarray(resize_labels(labels, size[1], size[0])).save(
                unfinished / "masks" / f"{path.stem}.png"
            )
    unfinished.rename(target)
    return target


class _Trainer:
    """Trains one network again and again from the same weights, without tracing it again."""

    def __init__(self, data: Path, weights: Path, steps: int) -> None:
        self._config = TrainConfig(
            data=data,
            classes=_CLASSES,
            size=(_SIZE, _SIZE),
            encoder_weights=str(weights),
            steps=steps,
            rounds=1,
            batch_size=_BATCH,
            network=Network(alpha=0.25),
        )
        config = self._config
        self._spec, self._dataset = config.spec(), config.dataset()
        keras.utils.set_random_seed(0)
        self._model = build(config.network, len(_CLASSES), self._spec.normalisation)
        load_encoder(self._model, config.network, str(weights))
        set_momentum(self._model, self._config.steps)
        self._optimizer = build_optimizer(config.optimisation, self._config.steps)
        self._optimizer.build(self._model.trainable_variables)
        self._model.compile(optimizer=self._optimizer, loss=objective(config.loss))
        self._begin = [
            keras.ops.convert_to_numpy(variable)
            for variable in (*self._model.variables, *self._optimizer.variables)
        ]

    def train(self, names: Sequence[str], seed: int) -> Segmenter:
        """Train on the pictures called `names`; the result is valid until the next call."""
        variables = (*self._model.variables, *self._optimizer.variables)
        for variable, value in zip(variables, self._begin, strict=True):
            variable.assign(value)
        chosen = set(names)
        samples = [
            sample
            for split in (self._dataset.train, self._dataset.validation)
            for sample in split
            if sample.name in chosen
        ]
        assert len(samples) == len(names)
        dataset = replace(self._dataset, train=tuple(samples))
        batches = training_batches(self._config, dataset, self._spec, seed=seed)
        for pixels, labels in batches.stream(0, self._config.steps):
            self._model.train_on_batch(pixels, labels)
        if self._config.optimisation.ema:
            self._optimizer.finalize_variable_values(self._model.trainable_variables)
        return Segmenter(self._spec, KerasBackend(self._model), "model")


def _draw(trainer: _Trainer, data: Path, kept: Path, number: int) -> Draw:
    """Run one draw, or what is missing of it in `kept`."""
    state: dict[str, Any] = json.loads(kept.read_text()) if kept.is_file() else {}
    names = (data / "train.txt").read_text().split()
    order = random.Random(number).sample(names, len(names))
    labelled, pool = order[:_LABELLED], order[_LABELLED:]
    test = (data / "test.txt").read_text().split()
    if not state:
        paths = [data / "images" / f"{name}.png" for name in pool]
        first = trainer.train(labelled, number)
        state = {
            "miou": {_FIRST: _miou(first, data, test)},
            "correlation": _correlations(first, data, test),
            "chosen": {_RANDOM: pool[:_LABELLED]},
        }
        for measure in _MEASURES:
            ranking = rank(first, paths, measure)
            state["chosen"][measure] = [photo.path.stem for photo in ranking.photos[:_LABELLED]]
        write_atomically(kept, json_text(state))
    for name, more in state["chosen"].items():
        if name not in state["miou"]:
            model = trainer.train([*labelled, *more], number)
            state["miou"][name] = _miou(model, data, test)
            write_atomically(kept, json_text(state))
            print(f"draw {number}, {name}: {state['miou'][name]:.4f}", flush=True)
    return Draw(state["miou"], state["correlation"])


def _miou(segmenter: Segmenter, data: Path, names: Sequence[str]) -> float:
    """The mIoU on the pictures called `names`, at their own size."""
    confusion = Confusion.empty(len(_CLASSES))
    for name in names:
        truth = np.asarray(read_labels(data / "masks" / f"{name}.png"))
        labels = segmenter.segment(data / "images" / f"{name}.png").labels
        confusion += Confusion.of(truth, labels, len(_CLASSES))
    return confusion.miou


def _correlations(segmenter: Segmenter, data: Path, names: Sequence[str]) -> dict[str, float]:
    wrong = []
    scores: dict[str, list[float]] = {}
    for name in names:
        path = data / "images" / f"{name}.png"
        truth = np.asarray(read_labels(data / "masks" / f"{name}.png"))
        wrong.append(float((segmenter.segment(path).labels != truth).mean()))
        for measure in _MEASURES:
            found = uncertainty(segmenter, path, measure)
            for aggregate in _AGGREGATES:
                scores.setdefault(f"{measure} {aggregate}", []).append(found.score(aggregate))
    return {name: _spearman(values, wrong) for name, values in scores.items()}


def _spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """The correlation of two orders; ties get their mean rank."""
    return float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    means: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return means


def _markdown(draws: Sequence[Draw], steps: int, facts: dict[str, Any]) -> str:
    rows = []
    for name in draws[0].miou:
        values = [100 * draw.miou[name] for draw in draws]
        gains = [100 * (draw.miou[name] - draw.miou[_RANDOM]) for draw in draws]
        count = _LABELLED if name == _FIRST else 2 * _LABELLED
        what = {_FIRST: "the first 25 alone", _RANDOM: "25 more at random"}
        gain = [f"{statistics.mean(gains):+.2f}", f"{statistics.stdev(gains):.2f}"]
        rows.append(
            (
                what.get(name, f"25 more by {name}"),
                count,
                f"{statistics.mean(values):.2f}",
                *(["", ""] if name in what else gain),
                *(f"{value:.2f}" for value in values),
            )
        )
    headers = ["labelled", "pictures", "mIoU", "against random", "its spread"]
    headers += [f"draw {number}" for number in range(len(draws))]
    of_measures = [
        (
            name,
            f"{statistics.mean(draw.correlation[name] for draw in draws):.2f}",
            f"{min(draw.correlation[name] for draw in draws):.2f}",
            f"{max(draw.correlation[name] for draw in draws):.2f}",
        )
        for name in draws[0].correlation
    ]
    return page(
        "# Ranking: labelling by uncertainty against labelling at random",
        f"Made by `python -m benchmarks.ranking --data DIR --work DIR`. Machine: {spelled(facts)}.",
        f"Feral cats reduced to {_EDGE} px, MobileNet V1 of alpha 0.25 from ImageNet at {_SIZE} "
        f"px, {steps} batches of {_BATCH}. mIoU in points on the 101 test pictures, "
        "at the reduced size. All models start from the same weights, and those of a draw share "
        "their first 25 pictures. "
        '"Against random" is the mean over the draws of the difference to 25 more at random, and '
        "its spread the standard deviation: a mean within half a spread says nothing in five "
        "draws.",
        table(rows, headers),
        "## Do scores find the pictures with the most wrong pixels?",
        "Spearman's rank correlation over the test pictures, of each score with the share of wrong "
        "pixels, by the models of the first 25: mean, lowest and highest of the draws. 1 is the "
        "same order, 0 is chance.",
        table(of_measures, ["score", "mean", "lowest", "highest"]),
    )


if __name__ == "__main__":
    main()
