"""What this processor makes of a bundle: scores, labels, decoded pictures. Runs on a device, too.

    python -m benchmarks.processors.measure BUNDLE OUTPUT.npz [--pictures 8] [--jpegs FOLDER]

OUTPUT.npz holds the scores of each file and interpreter on the golden pictures, and under "report"
a JSON text of all the rest. It needs unet-edge's device install and nothing else; no child process
is started, since under an emulator that would be a native one.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unet_edge.bundle.bundle import Bundle
from unet_edge.errors import BackendError, ImageError
from unet_edge.evaluation.verification import golden_references, verify
from unet_edge.images.decoding import read_photo
from unet_edge.images.placement import Placement
from unet_edge.runtime.argmax import to_labels
from unet_edge.runtime.interpreter_choice import open_backend
from unet_edge.runtime.packages import PACKAGES
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.spec import ModelSpec
from unet_edge.system.board import read_processor

THREADS = (1, 2, 4)
UNREADABLE = "not readable"


def main() -> None:
    """Measure and write OUTPUT."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--pictures", type=int, default=8, help="golden pictures to use")
    parser.add_argument("--jpegs", type=Path, help="a folder of JPEG files to decode")
    asked = parser.parse_args()
    bundle = Bundle.open(asked.bundle)
    scores: dict[str, np.ndarray] = {}
    files = [
        measured
        for entry in bundle.files
        for measured in _file(bundle, entry.name, scores, asked.pictures)
    ]
    report = {
        "processor": dataclasses.asdict(read_processor()),
        "files": files,
        "digests": {
            **(_decoded(asked.jpegs) if asked.jpegs else {}),
            **_placed(),
            **_ties(),
        },
    }
    arrays: dict[str, Any] = {**scores, "report": json.dumps(report)}
    np.savez_compressed(asked.output, **arrays)


def _file(
    bundle: Bundle, name: str, scores: dict[str, np.ndarray], count: int
) -> list[dict[str, Any]]:
    """A file by each interpreter that works here; its scores by one thread go into `scores`."""
    entry = bundle.file(name)
    references = list(golden_references(bundle))[:count]
    grids = [_grid(reference.picture, bundle.spec) for reference in references]
    found = []
    for package in PACKAGES[entry.format]:
        try:
            backends = [
                open_backend(bundle.read(entry), entry.format, threads, package)
                for threads in THREADS
            ]
        except BackendError:
            continue
        by_threads = [
            np.stack([np.array(backend.scores(grid)) for grid in grids]) for backend in backends
        ]
        key = f"{name} {package}"
        scores[key] = by_threads[0]
        proof = verify(Segmenter(bundle.spec, backends[0], name), references, floor=entry.floor)
        found.append(
            {
                "key": key,
                "file": name,
                "interpreter": backends[0].name,
                "agreement": proof.agreement,
                "floor": entry.golden_floor,
                "same_on_threads": {
                    threads: bool(np.array_equal(one, by_threads[0]))
                    for threads, one in zip(THREADS, by_threads, strict=True)
                },
            }
        )
    return found


def _grid(picture: Any, spec: ModelSpec) -> np.ndarray:
    photo = read_photo(picture, spec)
    return Placement.plan(photo.size, spec).place(photo.picture)


def _decoded(folder: Path) -> dict[str, str]:
    """JPEG files in full and reduced by the decoder, as `decoding: scaled` does."""
    full, scaled = (
        ModelSpec(64, 64, ("a", "b"), decoding=decoding) for decoding in ("full", "scaled")
    )
    found = {}
    for path in sorted(folder.glob("*.jp*g")):
        found[f"decode {path.name}"] = _photo(path, full)
        found[f"decode {path.name}, reduced"] = _photo(path, scaled)
    return found


def _photo(path: Path, spec: ModelSpec) -> str:
    try:
        return _digest(read_photo(path, spec).picture)
    except ImageError:
        return UNREADABLE


def _placed() -> dict[str, str]:
    """A photo of whole numbers, enlarged and reduced to a grid by each filter and fit."""
    y, x = np.mgrid[:301, :403].astype(np.int64)
    channels = (7 * x + 3 * y, x * y // 5 + 11 * x, (x * x + 9 * y) // 4)
    photo = (np.stack(channels, axis=-1) % 256).astype(np.uint8)
    found = {}
    for size in (96, 512):
        for fit in ("letterbox", "stretch"):
            spec = ModelSpec(size, size, ("a", "b"), fit=fit)
            found[f"place {fit} {size}"] = _digest(_grid(photo, spec))
    return found


def _ties() -> dict[str, str]:
    """Arg-max of scores that tie in every third pixel, for two to twelve classes."""
    random = np.random.default_rng(0)
    found = {}
    for classes in (2, 3, 5, 6, 12):
        scores = random.integers(0, 4, (64, 64, classes)).astype(np.float32)
        found[f"arg-max {classes} classes"] = _digest(to_labels(scores))
    return found


def _digest(pixels: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()[:16]


def labels_of(scores: Sequence[Any] | np.ndarray) -> np.ndarray:
    """Labels of scores (N, H, W, C), or labels (N, H, W) as they are."""
    array = np.asarray(scores)
    return array if array.ndim == 3 else array.argmax(-1)


if __name__ == "__main__":
    main()
