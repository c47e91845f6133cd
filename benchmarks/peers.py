"""Time one photo from its file to the mask at its own size: ours, MediaPipe and a plain script.

    python -m benchmarks.peers BUNDLE [BUNDLE ...] --photo PHOTO

Each program runs each bundle's model-int8.tflite in its own process, one picture in turn. First
all run on one processor with one thread, then on all processors with their default number of
threads. The result is the median of the paired ratios. The photo is saved as JPEG at 640x480 and
at 4000x3000 px. The programs:

- ours: `Segmenter.segment(path).labels`;
- MediaPipe: ImageSegmenter's category mask of `Image.create_from_file`, in a virtual environment
  that is created for it;
- plain script: Pillow opens and resizes, pixels become float and then the input's integers, the
  interpreter runs with its defaults, scores become float, NumPy's argmax, Pillow resizes back.

The other programs stretch a picture where ours letterboxes it, so they spend no time on padding
and their masks differ. The report says by how much.

Writes `benchmarks/reference/<machine>/peers.{md,json}`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from benchmarks.reporting import REFERENCE, named, page, spelled, steadiness, table, write_report
from unet_edge.bundle.bundle import Bundle
from unet_edge.errors import ConfigError
from unet_edge.images.decoding import decode
from unet_edge.system.timing import gemm_ms, machine

_FILE = "model-int8.tflite"
_SIZES = ((640, 480), (4000, 3000))
_MEDIAPIPE = "mediapipe==1.2.2"
_WARM_UP = 3

# Each program defines segment(path), which returns labels, uint8 (h, w).
_PROGRAMS = {
    "ours": """
from unet_edge import Segmenter
segmenter = Segmenter.open(MODEL)
def segment(path):
    return segmenter.segment(path).labels
def stages(path):
    from unet_edge.system.timing import StageClock
    clock = StageClock()
    clock.start()
    segmenter.timed_segment(path, clock)
    return {name: laps[-1] for name, laps in clock.laps.items()}
""",
    "MediaPipe": """
import mediapipe as mp
from mediapipe.tasks.python import BaseOptions
from mediapipe.tasks.python.vision import ImageSegmenter, ImageSegmenterOptions
options = ImageSegmenterOptions(
    BaseOptions(model_asset_path=MODEL), output_category_mask=True, output_confidence_masks=False
)
segmenter = ImageSegmenter.create_from_options(options)
def segment(path):
    return segmenter.segment(mp.Image.create_from_file(path)).category_mask.numpy_view()
""",
    "plain script": """
import numpy as np
from PIL import Image
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=MODEL)
interpreter.allocate_tensors()
source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
_, height, width, _ = source["shape"]
def segment(path):
    photo = Image.open(path).convert("RGB")
    pixels = (np.asarray(photo.resize((width, height)), np.float32) - 128) / 128
    scale, zero = source["quantization"]
    quantised = np.clip(np.round(pixels / scale + zero), 0, 255).astype(np.uint8)
    interpreter.set_tensor(source["index"], quantised[None])
    interpreter.invoke()
    scale, zero = target["quantization"]
    scores = (interpreter.get_tensor(target["index"])[0].astype(np.float32) - zero) * scale
    labels = np.argmax(scores, axis=-1).astype(np.uint8)
    return np.asarray(Image.fromarray(labels).resize(photo.size, Image.NEAREST))
""",
}

# Reads one request a line from standard input: path, where to save the mask or None, and what to
# measure. Answers with the time in ms, or with the times of the stages.
_LOOP = """
import json, os, sys, time
MODEL = sys.argv[1]
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
{program}
for line in sys.stdin:
    path, mask, kind = json.loads(line)
    if kind == "stages":
        answer = stages(path)
    else:
        started = time.perf_counter_ns()
        labels = segment(path)
        answer = (time.perf_counter_ns() - started) / 1e6
        if mask:
            import numpy as np
            np.save(mask, np.asarray(labels).reshape(labels.shape[:2]))
    print(json.dumps(answer), file=answers, flush=True)
"""


@dataclass(frozen=True)
class _Peer:
    """A process of one program, waiting for pictures."""

    process: subprocess.Popen[str]

    @classmethod
    def start(cls, python: Path, program: str, model: Path) -> _Peer:
        paths = {"PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path])}
        same_python = python == Path(sys.executable)
        return cls(
            subprocess.Popen(
                [str(python), "-c", _LOOP.format(program=program), str(model)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env={**os.environ, **(paths if same_python else {})},
            )
        )

    def ask(self, photo: Path, mask: Path | None = None, kind: str = "time") -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(
            json.dumps([str(photo), str(mask) if mask else None, kind]),
            file=self.process.stdin,
            flush=True,
        )
        return json.loads(self.process.stdout.readline())

    def stop(self) -> None:
        self.process.communicate()


@click.command()
@click.argument("bundles", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--photo", required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--rounds", default=40, show_default=True)
@click.option("--python", type=click.Path(path_type=Path), help="A Python that has MediaPipe.")
@click.option("--output", type=click.Path(path_type=Path), default=REFERENCE)
def main(
    bundles: Sequence[Path], photo: Path, rounds: int, python: Path | None, output: Path
) -> None:
    """Make the photos, measure, and write the report."""
    processors = sorted(os.sched_getaffinity(0))
    before = gemm_ms()
    with tempfile.TemporaryDirectory() as scratch:
        python = python or _with_mediapipe(Path(scratch))
        rows = []
        for bundle in bundles:
            for size in _SIZES:
                picture = Path(scratch, f"{size[0]}.jpg")
                decode(photo).resize(size, Image.Resampling.BICUBIC).save(picture, quality=90)
                for allowed in ([processors[0]], processors) if processors[1:] else (processors,):
                    os.sched_setaffinity(0, allowed)  # child processes inherit it
                    rows.append(_compare(bundle, picture, size, python, rounds))
                    print(json.dumps(rows[-1]), flush=True)
    report: dict[str, Any] = {
        "machine": machine(),
        "gemm_before_ms": before,
        "gemm_after_ms": gemm_ms(),
        "rounds": rounds,
        "rows": rows,
    }
    target = named(output, report["machine"], "peers")
    write_report(target, report, _markdown(report))
    print(_markdown(report))


def _with_mediapipe(scratch: Path) -> Path:
    folder = scratch / "mediapipe"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, _MEDIAPIPE], check=True)
    return python


def _compare(
    bundle: Path, picture: Path, size: tuple[int, int], python: Path, rounds: int
) -> dict[str, Any]:
    """Medians (ms), ratios of our time to each, and the share of pixels with our label."""
    opened = Bundle.open(bundle)
    opened.file(_FILE)  # raises if the bundle lacks it
    peers = {
        name: _Peer.start(
            python if name == "MediaPipe" else Path(sys.executable), program, bundle / _FILE
        )
        for name, program in _PROGRAMS.items()
    }
    try:
        masks = {name: picture.with_name(f"{name}.npy") for name in peers}
        for name, peer in peers.items():
            for _ in range(_WARM_UP):
                peer.ask(picture, masks[name])
        times: dict[str, list[float]] = {name: [] for name in peers}
        for turn in range(rounds):
            for name in list(peers) if turn % 2 else reversed(peers):
                times[name].append(peers[name].ask(picture))
        stages = [peers["ours"].ask(picture, kind="stages") for _ in range(rounds)]
    finally:
        for peer in peers.values():
            peer.stop()
    labels = {name: np.load(path) for name, path in masks.items()}
    for name, mask in labels.items():
        if mask.shape != size[::-1]:
            raise ConfigError(
                f"the mask of {name} has the shape {mask.shape}", expected=f"expected {size[::-1]}"
            )
    median = {name: float(np.median([lap[name] for lap in stages])) for name in stages[0]}
    own_ms = sum(median.values()) - median["decode"] - median["infer"]
    return {
        "model": opened.spec.name,
        "grid": list(opened.spec.size),
        "photo": list(size),
        "processors": len(os.sched_getaffinity(0)),
        "ms": {name: float(np.median(laps)) for name, laps in times.items()},
        "ratio": {name: _ratio(times, name) for name in peers if name != "ours"},
        "same_labels": {n: float((labels[n] == labels["ours"]).mean()) for n in peers},
        "stages_ms": median,
        "own_cost_by_inference": own_ms / median["infer"],
    }


def _ratio(times: Mapping[str, Sequence[float]], name: str) -> list[float]:
    """Quartiles of our time divided by the other program's, pair by pair."""
    ratios = np.array(times["ours"]) / np.array(times[name])
    return [float(part) for part in np.quantile(ratios, (0.25, 0.5, 0.75))]


def _markdown(report: dict[str, Any]) -> str:
    facts = spelled(report["machine"])
    rows = [
        (
            "{1}x{0}".format(*row["grid"]),
            "{}x{}".format(*row["photo"]),
            row["processors"],
            *(f"{time:.1f}" for time in row["ms"].values()),
            *("{1:.3f} ({0:.3f} to {2:.3f})".format(*ratio) for ratio in row["ratio"].values()),
            *(f"{row['same_labels'][name]:.1%}" for name in row["ratio"]),
            f"{row['own_cost_by_inference']:.1%}",
        )
        for row in report["rows"]
    ]
    headers = [
        *("model, px", "photo, px", "processors"),
        *("ours, ms", "MediaPipe, ms", "plain script, ms"),
        *("ours / MediaPipe", "ours / plain", "MediaPipe's labels as ours", "plain's as ours"),
        "our other stages / inference",
    ]
    return page(
        "# From a JPEG file to the mask at its size, compared with other programs",
        f"Made by `python -m benchmarks.peers`, which describes the programs. {facts}.",
        f"int8 .tflite, {report['rounds']} pictures in turn, median times, medians and quartiles "
        "of the paired ratios. On one processor each program has one thread; on several it has its "
        "default number, which is one for the plain script's interpreter. Our other stages are all "
        "but decoding and inference. " + steadiness(report),
        table(rows, headers),
    )


if __name__ == "__main__":
    main()
