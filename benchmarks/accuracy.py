"""Measure the accuracy of networks against their cost, and our recipe against the tutorial's.

    python -m benchmarks.accuracy --data DIR [--seeds 3]
    python -m benchmarks.accuracy --data DIR --seeds 1 --steps 1920 --case separable-1.0 \\
        --case separable-0.25 --case separable-0.25-taught

Trains the default network, narrower ones, some that learn from larger ones, and the tutorial's
dense decoder, all by the same recipe. The data are ISBI 2012 membranes (slices 0-23, scored on
24-29) and feral cats (official split). Without --case, it also trains by the tutorial's own recipe
and by ours on the membranes. Runs that are already in --work are used again.

Writes `benchmarks/reference/<machine>/training-<steps>.{md,json}`, or with --case
`<machine>-training-<steps>-chosen.{md,json}`. DIR holds `data/isbi2012_membranes`,
`data/feral_cat` and `weights/`. Every command is printed.
"""

from __future__ import annotations

import json
import shlex
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import keras
import numpy as np
from PIL import Image

from benchmarks import tutorial
from benchmarks.reporting import REFERENCE, named, page, spelled, table, write_report
from unet_edge.benchmarking.measurement import measure_bundle
from unet_edge.bundle.bundle import Bundle
from unet_edge.bundle.manifest import MANIFEST
from unet_edge.dataset import Dataset, find_dataset
from unet_edge.masks.metrics import Confusion
from unet_edge.runtime.backends.keras_model import load_keras
from unet_edge.runtime.segmenter import KERAS_MODEL
from unet_edge.system.files import json_text, write_atomically
from unet_edge.system.progress import progress
from unet_edge.system.timing import machine
from unet_edge.training.cost import multiply_accumulates
from unet_edge.training.run_files import RESULT_FILE

_WEIGHTS = {
    "1.0": "mobilenet_1_0_224_tf_no_top.weights.h5",
    "0.25": "mobilenet_2_5_224_tf_no_top.h5",
}


@dataclass(frozen=True)
class Case:
    """A network to train: its decoder, its width, and whether its encoder starts pretrained.

    It learns from the first run of the case `teacher`, if there is one.
    """

    decoder: str
    alpha: str
    pretrained: bool = True
    teacher: Case | None = None

    @property
    def name(self) -> str:
        """The name in files and tables."""
        kind = "" if self.pretrained else "-scratch"
        return f"{self.decoder}-{self.alpha}{kind}" + ("-taught" if self.teacher else "")

    @property
    def few_seeds(self) -> bool:
        """Whether it is trained with `--few-seeds` seeds: a case for comparison, or a trial."""
        return self.decoder == "dense" or not self.pretrained or self.teacher is not None


# There are no pretrained weights of alpha 0.5 here. It starts from scratch, and for comparison so
# does one alpha 1.0.
_CASES = (
    Case("separable", "1.0"),
    Case("separable", "0.25"),
    Case("separable", "1.0", pretrained=False),
    Case("separable", "0.5", pretrained=False),
    Case("dense", "1.0"),
    Case("dense", "0.25"),
    Case("separable", "1.0", teacher=Case("dense", "1.0")),
    Case("separable", "0.25", teacher=Case("separable", "1.0")),
)

_DATA = {
    "membranes": (
        "isbi2012_membranes",
        "--classes cell,membrane --masks 'binary<=127' --size 512 --crop 256 --scale 0.75 1.33 "
        "--hue 0",
    ),
    "cats": ("feral_cat", "--classes background,cat --size 256"),
}


@dataclass(frozen=True)
class Score:
    """A case on one data set: its cost, and each seed's mIoU (0..1) at the pictures' own size."""

    data: str
    case: str
    miou: tuple[float, ...]
    parameters: int
    gmac: float
    int8_ms: float | None

    def dominates(self, other: Score) -> bool:
        """Whether it is at least as good in mIoU, GMAC and latency, and better in one."""
        own, others = self._goals(), other._goals()
        return own != others and all(a >= b for a, b in zip(own, others, strict=True))

    def _goals(self) -> tuple[float, ...]:
        latency = float("inf") if self.int8_ms is None else self.int8_ms
        return (statistics.mean(self.miou), -self.gmac, -latency)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return dict(vars(self))


@click.command()
@click.option("--data", type=click.Path(path_type=Path), envvar="UNET_EDGE_DATA", required=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/accuracy"))
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True)
@click.option(
    "--few-seeds",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Seeds of dense decoders, of networks from scratch and of taught ones.",
)
@click.option("--steps", type=click.IntRange(1), default=480, show_default=True)
@click.option(
    "--case",
    "cases",
    multiple=True,
    type=click.Choice([case.name for case in _CASES]),
    help="Train this case only, without the recipes; repeatable.",
)
@click.option("--output", type=click.Path(path_type=Path), default=REFERENCE)
def main(
    data: Path,
    work: Path,
    seeds: int,
    few_seeds: int,
    steps: int,
    cases: Sequence[str],
    output: Path,
) -> None:
    """Train, score and write the report of this machine."""
    work.mkdir(parents=True, exist_ok=True)
    held_out = work / "membranes-val.txt"
    write_atomically(held_out, "\n".join(map(str, range(24, 30))) + "\n")
    runs = {
        (name, case): [
            _trained(data, work, name, case, seed, steps)
            for seed in range(few_seeds if case.few_seeds else seeds)
        ]
        for name in _DATA
        for case in _CASES
        if not cases or case.name in cases
    }
    recipes = {} if cases else _recipes(data, work, steps)
    # Scored last and together: latencies measured hours apart are not comparable.
    scores = [_score(data, name, case, trained) for (name, case), trained in runs.items()]
    facts = machine()
    target = named(output, facts, f"training-{steps}" + ("-chosen" if cases else ""))
    command = f"--seeds {seeds} --few-seeds {few_seeds} --steps {steps}"
    command += "".join(f" --case {case}" for case in cases)
    results = {
        "machine": facts,
        "steps": steps,
        "scores": [score.to_dict() for score in scores],
        "tutorial": recipes,
    }
    write_report(target, results, _markdown(scores, recipes, facts, steps, command))
    print(f"written: {target}.md and .json")


def _trained(data: Path, work: Path, name: str, case: Case, seed: int, steps: int) -> Path:
    """The run of a case; trains it, and its teacher, unless that is done."""
    folder, settings = _DATA[name]
    run = work / f"{name}-{case.name}-{steps}-{seed}"
    weights = str(data / "weights" / _WEIGHTS[case.alpha]) if case.pretrained else "none"
    more = ["--encoder-weights", weights]
    if name == "membranes":
        more += ["--val-list", str(work / "membranes-val.txt")]
    else:
        more += ["--val-list", str(data / "data" / folder / "test.txt")]
    if case.teacher:
        more += ["--teacher", str(_trained(data, work, name, case.teacher, 0, steps))]
    settings += (
        f" --batch-size 4 --decoder {case.decoder} --alpha {case.alpha} "
        f"--steps {steps} --rounds 6 --seed {seed}"
    )
    _train(data / "data" / folder, run, settings, more)
    return run


def _score(data: Path, name: str, case: Case, runs: list[Path]) -> Score:
    mious = tuple(_evaluated(data / "data" / _DATA[name][0], run) for run in runs)
    if not (runs[0] / "bundle" / MANIFEST).is_file():
        arguments = ["export", str(runs[0]), "--formats", "tflite-int8", "--check", "8"]
        _command([*arguments, "--golden", "2"], check=False)  # 1: under its floor
    # The first row is the Keras reference, which is not timed here.
    _, row = measure_bundle(Bundle.open(runs[0] / "bundle"), runs=5, threads=1).rows
    model = load_keras(runs[0] / KERAS_MODEL)
    return Score(
        data=name,
        case=case.name,
        miou=mious,
        parameters=model.count_params(),
        gmac=multiply_accumulates(model, 224, 224) / 1e9,
        int8_ms=None if row.cost is None else row.cost.stages["infer"]["p50"],
    )


def _recipes(data: Path, work: Path, steps: int) -> dict[str, float]:
    """mIoU on the membranes with the tutorial's recipe and with ours.

    Both train on whole pictures at 256 px with equal steps and batches, and are scored on the same
    slices at their own 512 px.
    """
    folder = data / "data" / _DATA["membranes"][0]
    weights = data / "weights" / _WEIGHTS["1.0"]
    mious: dict[str, float] = {}
    record = work / f"recipe-tutorial-{steps}.json"
    if not record.is_file():
        dataset = find_dataset(
            folder,
            classes=("cell", "membrane"),
            masks="binary<=127",
            validation_list=work / "membranes-val.txt",
        )
        miou = _tutorial_miou(dataset, weights, 256, steps)
        write_atomically(record, json_text({"miou": miou}))
    mious["the tutorial's recipe and network"] = json.loads(record.read_text())["miou"]
    run = work / f"recipe-separable-{steps}"
    _train(
        folder,
        run,
        f"--classes cell,membrane --masks 'binary<=127' --size 256 --scale 0.75 1.33 --hue 0 "
        f"--batch-size {tutorial.BATCH_SIZE} --steps {steps} --rounds 6",
        ["--val-list", str(work / "membranes-val.txt"), "--encoder-weights", str(weights)],
    )
    mious["our recipe and network"] = _evaluated(folder, run)
    return mious


def _tutorial_miou(dataset: Dataset, weights: Path, size: int, steps: int) -> float:
    """Train as the tutorial does, and score at the pictures' own size."""
    keras.utils.set_random_seed(0)
    model = tutorial.build(size, dataset.classes, str(weights))
    optimizer = keras.optimizers.Adam(tutorial.LEARNING_RATE)
    model.compile(optimizer=optimizer, loss=tutorial.loss)
    loader = tutorial.Loader(dataset.train, size, dataset.classes, seed=0)
    # Its hundred epochs, spread over the same number of batches.
    for step in progress(range(steps), "training as the tutorial does"):
        epoch = step * tutorial.EPOCHS // steps
        optimizer.learning_rate = tutorial.LEARNING_RATE * tutorial.DECAY**epoch
        model.train_on_batch(*loader.batch(step))
    confusion = Confusion.empty(dataset.classes)
    for sample in dataset.validation:
        picture, truth = dataset.read(sample)
        fitted = picture.resize((size, size), Image.Resampling.BICUBIC)
        scores = model.predict_on_batch(np.asarray(fitted, np.float32)[None] / 127.5 - 1)[0]
        labels = Image.fromarray(scores.argmax(-1).astype(np.uint8))
        restored = np.asarray(labels.resize(picture.size, Image.Resampling.NEAREST))
        confusion += Confusion.of(truth, restored, dataset.classes)
    return confusion.miou


def _train(folder: Path, run: Path, settings: str, more: list[str]) -> None:
    """Train, unless the run is complete."""
    if not (run / RESULT_FILE).is_file():
        arguments = ["train", str(folder), "-o", str(run), "--overwrite"]
        _command([*arguments, *shlex.split(settings), *more])


def _evaluated(folder: Path, run: Path) -> float:
    """mIoU of a run over its validation pictures at their own size."""
    report = run / "evaluation" / "report.json"
    if not report.is_file():
        _command(["evaluate", str(run), "--data", str(folder), "-o", str(report.parent)])
    miou: float = json.loads(report.read_text())["miou"]
    return miou


def _command(arguments: list[str], *, check: bool = True) -> None:
    print(f"\n$ unet-edge {shlex.join(arguments)}", flush=True)
    subprocess.run([sys.executable, "-m", "unet_edge", *arguments], check=check)


def _markdown(
    scores: list[Score],
    recipes: dict[str, float],
    facts: dict[str, Any],
    steps: int,
    command: str,
) -> str:
    parts = [
        "# Training: accuracy for arithmetic",
        f"Made by `python -m benchmarks.accuracy {command}`. Each row says its number of seeds; "
        "a single seed is less certain than a mean of three. "
        f"Machine: {spelled(facts)}.",
        f"Every row of a data set is trained by the same recipe: {steps} batches of four crops of "
        "256 px, best of six rounds by mIoU on the same held-out pictures. mIoU is at their own "
        "size, in points; its spread is the standard deviation over seeds. `scratch` rows start "
        "without pretrained weights. `taught` rows learn from the labels and, in equal part, from "
        "seed 0 of dense-1.0 or, at alpha 0.25, of separable-1.0. GMAC at 224x224; int8 TFLite in "
        "ms at the model's own size, one thread, p50. A network is on the front unless another is "
        "at least as good in mIoU, GMAC and latency, and better in one.",
    ]
    for name in _DATA:
        networks = [score for score in scores if score.data == name]
        rows = [
            (
                score.case,
                f"{100 * statistics.mean(score.miou):.2f}",
                f"{100 * statistics.stdev(score.miou):.2f}" if len(score.miou) > 1 else "-",
                len(score.miou),
                f"{score.gmac:.3f}",
                f"{score.parameters / 1e6:.2f}",
                "-" if score.int8_ms is None else f"{score.int8_ms:.2f}",
                "" if any(other.dominates(score) for other in networks) else "yes",
            )
            for score in networks
        ]
        headers = [
            "network", "mIoU", "spread", "seeds", "GMAC", "M parameters", "int8 ms", "front"
        ]  # fmt: skip
        parts += [f"## {name.capitalize()}", table(rows, headers)]
    if recipes:
        rows_of_recipes = [(name, f"{100 * miou:.2f}") for name, miou in recipes.items()]
        parts += [
            "## The tutorial's recipe",
            f"Membranes, whole pictures at 256 px, {steps} batches of four, one seed.",
            table(rows_of_recipes, ["trained with", "mIoU"]),
        ]
    return page(*parts)


if __name__ == "__main__":
    main()
