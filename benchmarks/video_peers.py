"""Frames a second from a video file to an overlay video: ours and other programs.

    python -m benchmarks.video_peers BUNDLE --clip CLIP [--ultralytics MODEL.yaml]

Each program runs in its own process, all in turn, `--rounds` times, in the reverse order every
second time: first on one processor with one thread each, then on all processors with as many
threads. A program's time runs from its opened model until its video is closed; starting Python and
opening the model are left out. The result is the median of the paired ratios. The programs:

- ours: `unet-edge segment BUNDLE CLIP --save overlay`, its int8 .tflite file, H.264, audio copied;
- MediaPipe: ImageSegmenter in VIDEO mode on the same file, in the tuned OpenCV loop;
- OpenCV: a loop of OpenCV's reader, its resize, LiteRT on the same file, and OpenCV's writer; the
  overlay is made with NumPy's indexing and `where`, or, tuned, with OpenCV's own functions alone;
- Ultralytics: `predict(CLIP, save=True, stream=True)` of a semantic model of the same size class
  with two classes, at the grid's size, in PyTorch. Its weights are random, which costs the same.

The other programs write MPEG-4 part 2 or motion JPEG, as OpenCV's wheel cannot write H.264, and
no audio. They are installed in a virtual environment made for this, or in that of `--python`.

Writes `benchmarks/reference/<machine>/video-peers.{md,json}`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.reporting import REFERENCE, named, page, spelled, steadiness, table, write_report
from unet_edge.bundle.bundle import Bundle
from unet_edge.system.timing import gemm_ms, machine

_FILE = "model-int8.tflite"
_PACKAGES = ("mediapipe==1.2.3", "opencv-python-headless", "ai-edge-litert")
_ULTRALYTICS = "ultralytics==8.4.190"

_OPENCV = """
import cv2
cv2.setNumThreads(THREADS)
colors = np.array([(0, 0, 0), (0, 128, 255), (255, 128, 0), (0, 255, 0)] * 64, np.uint8)
table = colors.reshape(256, 1, 3)
video = cv2.VideoCapture(CLIP)
size = int(video.get(cv2.CAP_PROP_FRAME_WIDTH)), int(video.get(cv2.CAP_PROP_FRAME_HEIGHT))
rate = video.get(cv2.CAP_PROP_FPS)
writer = cv2.VideoWriter(TARGET + "/overlay.mp4", cv2.VideoWriter_fourcc(*"mp4v"), rate, size)
"""
_PLAIN = """
def overlay(frame, mask):
    blended = cv2.addWeighted(frame, 0.5, colors[mask], 0.5, 0)
    return np.where(mask[..., None] > 0, blended, frame)
"""
_TUNED = """
def overlay(frame, mask):
    blended = cv2.addWeighted(frame, 0.5, cv2.LUT(cv2.merge([mask] * 3), table), 0.5, 0)
    cv2.copyTo(blended, mask, frame)
    return frame
"""

_OPENCV_LOOP = """
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=MODEL, num_threads=THREADS)
interpreter.allocate_tensors()
source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
_, height, width, _ = source["shape"]
def frames():
    while True:
        read, frame = video.read()
        if not read:
            break
        pixels = cv2.cvtColor(cv2.resize(frame, (width, height)), cv2.COLOR_BGR2RGB)
        interpreter.set_tensor(source["index"], pixels[None])
        interpreter.invoke()
        scores = interpreter.get_tensor(target["index"])[0]
        labels = np.argmax(scores, axis=-1).astype(np.uint8)
        mask = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
        writer.write(overlay(frame, mask))
        yield
    writer.release()
"""

# Each defines frames(), which writes the overlay video and yields once a frame.
_PROGRAMS = {
    "OpenCV": _OPENCV + _PLAIN + _OPENCV_LOOP,
    "OpenCV, tuned": _OPENCV + _TUNED + _OPENCV_LOOP,
    "MediaPipe": _OPENCV
    + _TUNED
    + """
import mediapipe as mp
from mediapipe.tasks.python import BaseOptions
from mediapipe.tasks.python.vision import ImageSegmenter, ImageSegmenterOptions, RunningMode
options = ImageSegmenterOptions(
    BaseOptions(model_asset_path=MODEL), running_mode=RunningMode.VIDEO,
    output_category_mask=True, output_confidence_masks=False,
)
segmenter = ImageSegmenter.create_from_options(options)
def frames():
    index = 0
    while True:
        read, frame = video.read()
        if not read:
            break
        image = mp.Image(mp.ImageFormat.SRGB, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        result = segmenter.segment_for_video(image, int(1000 * index / rate))
        mask = result.category_mask.numpy_view().reshape(size[::-1])
        writer.write(overlay(frame, mask))
        index += 1
        yield
    writer.release()
""",
    "Ultralytics": """
import torch
torch.set_num_threads(THREADS)
from ultralytics import YOLO
yolo = YOLO(sys.argv[5])
def frames():
    yield from yolo.predict(CLIP, save=True, stream=True, verbose=False, imgsz=int(sys.argv[6]),
                            project=TARGET, name="ultralytics", exist_ok=True)
""",
}

_LOOP = """
import json, os, sys, time
import numpy as np
MODEL, CLIP, TARGET, THREADS = *sys.argv[1:4], int(sys.argv[4])
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
{program}
started = time.perf_counter()
count = sum(1 for _ in frames())
print(json.dumps({{"frames": count, "seconds": time.perf_counter() - started}}), file=answers)
"""


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True))
@click.option("--clip", required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--ultralytics", type=click.Path(path_type=Path, exists=True), help="Its model.")
@click.option("--python", type=click.Path(path_type=Path), help="A Python that has the others.")
@click.option("--rounds", default=7, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=REFERENCE)
def main(
    bundle: Path,
    clip: Path,
    ultralytics: Path | None,
    python: Path | None,
    rounds: int,
    output: Path,
) -> None:
    """Measure, and write the report."""
    opened = Bundle.open(bundle)
    opened.file(_FILE)  # raises if the bundle lacks it
    names = [name for name in _PROGRAMS if ultralytics or name != "Ultralytics"]
    processors = sorted(os.sched_getaffinity(0))
    report: dict[str, Any] = {"machine": machine(), "gemm_before_ms": gemm_ms(), "rounds": rounds}
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        python = python or _with_peers(Path(scratch), ultralytics is not None)
        for allowed in ([processors[0]], processors) if processors[1:] else (processors,):
            os.sched_setaffinity(0, allowed)  # child processes inherit it
            results: dict[str, list[dict[str, Any]]] = {"ours": [], **{n: [] for n in names}}
            for turn in range(rounds):
                for name in list(results) if turn % 2 else reversed(results):
                    with tempfile.TemporaryDirectory(dir=scratch) as target:
                        if name == "ours":
                            result = _ours(bundle, clip, Path(target), len(allowed))
                        else:
                            grid = str(max(opened.spec.size))
                            tail = [str(len(allowed)), str(ultralytics), grid]
                            result = _run(python, name, bundle / _FILE, clip, target, tail)
                    results[name].append(result)
                    print(len(allowed), name, json.dumps(result), flush=True)
            rows.append({"processors": len(allowed), "results": results})
        os.sched_setaffinity(0, processors)
    report |= {"grid": list(opened.spec.size), "gemm_after_ms": gemm_ms(), "rows": rows}
    write_report(named(output, report["machine"], "video-peers"), report, _markdown(report))
    print(_markdown(report))


def _with_peers(scratch: Path, ultralytics: bool) -> Path:
    folder = scratch / "peers"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *_PACKAGES, *([_ULTRALYTICS] if ultralytics else [])], check=True)
    return python


def _ours(bundle: Path, clip: Path, target: Path, threads: int) -> dict[str, Any]:
    command = [
        *(sys.executable, "-m", "unet_edge", "segment", str(bundle), str(clip)),
        *("-o", str(target), "--save", "overlay", "--file", _FILE, "--threads", str(threads)),
        "--json",
    ]
    answer = subprocess.run(command, check=True, capture_output=True)
    (video,) = json.loads(answer.stdout)["videos"]
    return {"frames": video["frames"], "seconds": video["frames"] / video["fps"]}


def _run(
    python: Path, name: str, model: Path, clip: Path, target: str, tail: Sequence[str]
) -> dict[str, Any]:
    program = _LOOP.format(program=_PROGRAMS[name])
    command = [str(python), "-c", program, str(model), str(clip), target, *tail]
    answer = subprocess.run(command, check=True, capture_output=True)
    result: dict[str, Any] = json.loads(answer.stdout)
    return result


def _rate(result: dict[str, Any]) -> float:
    return float(result["frames"] / result["seconds"])


def _markdown(report: dict[str, Any]) -> str:
    cells = []
    for row in report["rows"]:
        ours = np.array([_rate(result) for result in row["results"]["ours"]])
        for name, results in row["results"].items():
            rates = np.array([_rate(result) for result in results])
            low, middle, high = np.quantile(ours / rates, (0.25, 0.5, 0.75))
            ratio = "" if name == "ours" else f"{middle:.2f} ({low:.2f} to {high:.2f})"
            cells.append((row["processors"], name, f"{np.median(rates):.1f}", ratio))
    frames = report["rows"][0]["results"]["ours"][0]["frames"]
    return page(
        "# From a video file to an overlay video, compared with other programs",
        "Made by `python -m benchmarks.video_peers`, which describes the programs. Machine: "
        f"{spelled(report['machine'])}. " + steadiness(report),
        f"{frames} frames, grid of {'x'.join(map(str, report['grid']))} px, {report['rounds']} "
        "rounds in turn: median frames a second, and median and quartiles of the paired ratios.",
        table(cells, ("processors", "program", "frames a second", "ours / it")),
    )


if __name__ == "__main__":
    main()
