"""Compare the tutorial's own network as it runs at best today, imported, and our default.

    python -m benchmarks.tutorial_headline --data DIR [--steps 120] [--train-only]

Trains the tutorial's mobilenet_unet (by its description, on Keras 3) and our default network on the
same ISBI 2012 membranes (slices 0-23): equal steps of batches of four crops of 128 px from grids of
224 px, the same augmentation, encoders with the same ImageNet weights. Then segments slices 24-29,
each from its file to a mask of the picture's own size, in turns:

- Keras: the tutorial's preprocessing (Pillow, x / 127.5 - 1) and one compiled call of the model,
  the faster of tf.function with and without XLA;
- plain TFLite int8: `TFLiteConverter.from_keras_model` with the same calibration pictures, and the
  same preprocessing;
- ours, imported: `unet-edge import` and `export` of the tutorial's weights;
- our default: `unet-edge export` of our run.

Every program has one thread. Runs, weights and files that are already in --work are used again.
Writes `benchmarks/reference/<machine>/tutorial-headline.{md,json}`. DIR holds
`data/isbi2012_membranes` and `weights/`. Every command is printed.
"""

from __future__ import annotations

import gc
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import keras
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.plain_tflite import PlainFile, plain_int8
from benchmarks.reporting import (
    REFERENCE,
    named,
    page,
    spelled,
    steadiness,
    table,
    write_report,
)
from converters.foreign.settings import Architecture
from converters.foreign.tutorial_networks import build_tutorial_network
from unet_edge import Segmenter
from unet_edge.bundle.manifest import MANIFEST
from unet_edge.dataset import Dataset
from unet_edge.masks.metrics import Confusion
from unet_edge.runtime.segmenter import KERAS_MODEL
from unet_edge.system.files import write_atomically
from unet_edge.system.progress import progress
from unet_edge.system.timing import gemm_ms, machine
from unet_edge.training import batch_norm
from unet_edge.training.batches import training_batches
from unet_edge.training.run_files import RESULT_FILE
from unet_edge.training.settings.augmentation import Augmentation
from unet_edge.training.settings.train_config import TrainConfig

_SIZE, _CROP, _BATCH = 224, 128, 4
_CLASSES = ("cell", "membrane")
_WEIGHTS = "mobilenet_1_0_224_tf_no_top.weights.h5"
_ARCHITECTURE: Architecture = "tutorial-mobilenet-unet"
_LEARNING_RATE = 1e-3  # ten times the tutorial's, whose hundred epochs this is not

Segment = Callable[[Path], NDArray[np.uint8]]
"""A program: from a picture's file to labels, uint8 (H, W), of the picture's own size."""


@click.command()
@click.option("--data", type=click.Path(path_type=Path), envvar="UNET_EDGE_DATA", required=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/tutorial-headline"))
@click.option("--steps", type=click.IntRange(1), default=120, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=40, show_default=True)
@click.option("--train-only", is_flag=True, help="Stop when both networks are trained.")
@click.option("--output", type=click.Path(path_type=Path), default=REFERENCE)
def main(data: Path, work: Path, steps: int, rounds: int, train_only: bool, output: Path) -> None:
    """Train both networks, import, export, measure in turns and write the report."""
    work.mkdir(parents=True, exist_ok=True)
    held_out = work / "membranes-val.txt"
    write_atomically(held_out, "\n".join(map(str, range(24, 30))) + "\n")
    config = _config(data, held_out, steps)
    dataset = config.dataset()
    weights = work / f"tutorial-{steps}.weights.h5"
    if not weights.is_file():
        _train_tutorial(config, dataset, weights)
    own = work / f"ours-{steps}"
    if not (own / RESULT_FILE).is_file():
        _command(["train", str(config.data), "-o", str(own), "--overwrite", *_settings(config)])
    if train_only:
        return
    imported = work / f"imported-{steps}"
    if not (imported / KERAS_MODEL).is_file():
        _command(
            [
                "import", str(weights), "-o", str(imported), "--architecture", _ARCHITECTURE,
                "--classes", ",".join(_CLASSES), "--input-range", "-1..1", "--size", str(_SIZE),
                "--fit", "letterbox", "--resample", "bicubic", "--overwrite",
            ]
        )  # fmt: skip
    _export(imported, ["--data", str(config.data), "--masks", "binary<=127", *_split(config)])
    _export(own, [])
    facts, before = machine(), gemm_ms()
    programs = _programs(dataset, weights, imported, own)
    results: dict[str, Any] = {
        "machine": facts,
        "steps": steps,
        "rounds": rounds,
        "gemm_before_ms": before,
        "rows": _measured(programs, dataset, rounds),
    }
    results["gemm_after_ms"] = gemm_ms()
    target = named(output, facts, "tutorial-headline")
    write_report(target, results, _markdown(results))
    print(_markdown(results))


def _config(data: Path, held_out: Path, steps: int) -> TrainConfig:
    return TrainConfig(
        data=data / "data" / "isbi2012_membranes",
        classes=_CLASSES,
        masks="binary<=127",
        validation_list=held_out,
        size=(_SIZE, _SIZE),
        crop=(_CROP, _CROP),
        encoder_weights=str(data / "weights" / _WEIGHTS),
        steps=steps,
        rounds=3,
        batch_size=_BATCH,
        augmentation=Augmentation(scale=(0.75, 1.33), hue=0),
    )


def _settings(config: TrainConfig) -> list[str]:
    """`config` as options of `unet-edge train`."""
    words = (
        f"--classes {','.join(_CLASSES)} --masks 'binary<=127' --size {_SIZE} --crop {_CROP} "
        f"--scale 0.75 1.33 --hue 0 --batch-size {_BATCH} --steps {config.steps} "
        f"--rounds {config.rounds}"
    )
    return [*shlex.split(words), *_split(config), "--encoder-weights", config.encoder_weights]


def _train_tutorial(config: TrainConfig, dataset: Dataset, weights: Path) -> None:
    """Train the tutorial's network and save its weights alone, as the tutorial does.

    Its loss has no gradient where a score leaves 0..1 and its loader labels padding; both are left
    out here, so that the comparison is of networks and files, not of these defects. BatchNorm's
    statistics are re-estimated at the end, as ours are.
    """
    keras.utils.set_random_seed(0)
    model = build_tutorial_network(_ARCHITECTURE, len(_CLASSES), (_CROP, _CROP))
    encoder = keras.applications.MobileNet(
        input_shape=(224, 224, 3), include_top=False, weights=config.encoder_weights
    )
    pretrained = {layer.name: layer for layer in encoder.layers if layer.weights}
    for layer in model.layers:
        if layer.name in pretrained:
            layer.set_weights(pretrained[layer.name].get_weights())
    batch_norm.set_momentum(model, config.steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)
    optimizer = keras.optimizers.Adam(
        keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, config.steps)
    )
    model.compile(optimizer, loss, jit_compile=False)
    batches = training_batches(config, dataset, config.spec(), seed=0)
    stream = batches.stream(0, config.steps + 6)
    for step in progress(range(config.steps), "training the tutorial's network"):
        pixels, labels = next(stream)
        value = model.train_on_batch(_scaled(pixels), labels.astype(np.int32))
        if step % 20 == 0:
            print(f"step {step}: loss {float(value):.3f}", flush=True)
    batch_norm.reestimate(model, (_scaled(pixels) for pixels, _ in stream))
    model.save_weights(weights)


def _scaled(pixels: NDArray[np.uint8]) -> NDArray[Any]:
    """The tutorial's preprocessing; float32, where the tutorial's loader gives float64."""
    return pixels.astype(np.float32) / 127.5 - 1


def _split(config: TrainConfig) -> list[str]:
    return ["--val-list", str(config.validation_list)]


def _export(run: Path, data: list[str]) -> None:
    if not (run / "bundle" / MANIFEST).is_file():
        arguments = ["export", str(run), *data, "--check", "6"]
        arguments += ["--formats", "tflite-float32,tflite-int8", "--golden", "2"]
        _command(arguments, check=False)  # 1: under its floor


def _programs(dataset: Dataset, weights: Path, imported: Path, own: Path) -> dict[str, Segment]:
    import tensorflow as tf

    # Before TensorFlow runs anything: it cannot be changed later.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model = build_tutorial_network(_ARCHITECTURE, len(_CLASSES), (_SIZE, _SIZE))
    model.load_weights(weights)
    pictures = [_scaled(_fitted(sample.image)[0])[None] for sample in dataset.train]
    file = PlainFile(plain_int8(model, pictures))
    return {
        "the tutorial's network, compiled Keras call": _plain(_fastest_call(model, pictures[0])),
        "the tutorial's network, plain TFLite int8": _plain(file.scores),
        "the tutorial's network, imported, int8": _ours(imported),
        "our default network, int8": _ours(own),
    }


def _fastest_call(model: keras.Model, picture: NDArray[Any]) -> Callable[[Any], Any]:
    """The faster of tf.function with and without XLA, float32 (1, H, W, 3) in, scores out."""
    import tensorflow as tf

    signature = tf.TensorSpec((1, _SIZE, _SIZE, 3), tf.float32)
    times: dict[float, Callable[[Any], Any]] = {}
    for xla in (False, True):
        call = tf.function(
            lambda x: model(x, training=False), input_signature=[signature], jit_compile=xla
        )

        def scores(x: Any, call: Any = call) -> Any:
            return call(tf.constant(x)).numpy()

        scores(picture)
        laps = []
        for _ in range(5):
            started = time.perf_counter()
            scores(picture)
            laps.append(time.perf_counter() - started)
        times[min(laps)] = scores
    return times[min(times)]


def _plain(scores: Callable[[Any], Any]) -> Segment:
    """The tutorial's way from a file to a mask: letterbox, scale, argmax, resize back."""

    def segment(path: Path) -> NDArray[np.uint8]:
        pixels, size = _fitted(path)
        labels = np.asarray(scores(_scaled(pixels)[None]))[0].argmax(-1).astype(np.uint8)
        # The pictures are square, so there is no padding to crop.
        return np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))

    return segment


def _fitted(path: Path) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    photo = Image.open(path).convert("RGB")
    return np.asarray(photo.resize((_SIZE, _SIZE), Image.Resampling.BICUBIC)), photo.size


def _ours(run: Path) -> Segment:
    segmenter = Segmenter.open(run / "bundle", file="model-int8.tflite", threads=1)
    return lambda path: segmenter.segment(path).labels


def _measured(programs: dict[str, Segment], dataset: Dataset, rounds: int) -> list[dict[str, Any]]:
    """Every program's mIoU, and its times in ms: one picture in turn, after a warm-up."""
    confusions = {name: Confusion.empty(len(_CLASSES)) for name in programs}
    for sample in dataset.validation:
        _, truth = dataset.read(sample)
        for name, segment in programs.items():
            confusions[name] += Confusion.of(truth, segment(sample.image), len(_CLASSES))
    times: dict[str, list[float]] = {name: [] for name in programs}
    gc.disable()
    for turn in range(rounds):
        path = dataset.validation[turn % len(dataset.validation)].image
        for name, segment in programs.items():
            started = time.perf_counter_ns()
            segment(path)
            times[name].append((time.perf_counter_ns() - started) / 1e6)
    gc.enable()
    first = next(iter(times.values()))
    return [
        {
            "program": name,
            "miou": confusions[name].miou,
            "min_ms": min(laps),
            "median_ms": statistics.median(laps),
            "times_faster": statistics.median(a / b for a, b in zip(first, laps, strict=True)),
        }
        for name, laps in times.items()
    ]


def _command(arguments: list[str], *, check: bool = True) -> None:
    print(f"\n$ unet-edge {shlex.join(arguments)}", flush=True)
    subprocess.run([sys.executable, "-m", "unet_edge", *arguments], check=check)


def _markdown(results: dict[str, Any]) -> str:
    rows = [
        (
            row["program"],
            f"{100 * row['miou']:.2f}",
            f"{row['min_ms']:.1f}",
            f"{row['median_ms']:.1f}",
            f"{row['times_faster']:.1f}",
        )
        for row in results["rows"]
    ]
    return page(
        "# The tutorial's network: Keras, plain TFLite, imported, and our default",
        "Made by `python -m benchmarks.tutorial_headline "
        f"--steps {results['steps']} --rounds {results['rounds']}`. "
        f"Machine: {spelled(results['machine'])}.",
        f"Membranes at {_SIZE} px, both networks trained for {results['steps']} steps of four "
        f"crops of {_CROP} px on the same pictures, one seed: a short training. mIoU on six "
        "held-out slices at their own 512 px. Times in ms from the file to the mask, one thread, "
        f"{results['rounds']} rounds in turns; the last column is the median of the paired ratios "
        "to the first row.",
        table(rows, ["program", "mIoU", "ms, min", "ms, median", "times as fast"]),
        steadiness(results),
    )


if __name__ == "__main__":
    main()
