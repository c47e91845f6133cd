"""Measure a bundle on this processor: scores, agreement, and digests of decoded pictures.

    python -m benchmarks.processors.measure BUNDLE OUTPUT.npz [--pictures 8] [--jpegs FOLDER]

OUTPUT.npz holds the scores of each file and interpreter on the golden pictures; its entry "report"
holds everything else as JSON. Needs only the device installation of unet-edge. It starts no child
process: under an emulator, a child would run natively.
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
    arguments = parser.parse_args()
    bundle = Bundle.open(arguments.bundle)
    scores: dict[str, np.ndarray] = {}
    files = [
        measured
        for entry in bundle.files
        for measured in _file(bundle, entry.name, scores, arguments.pictures)
    ]
    report = {
        "processor": dataclasses.asdict(read_processor()),
        "files": files,
        "digests": {
            **(_decoded(arguments.jpegs) if arguments.jpegs else {}),
            **_placed(),
            **_ties(),
        },
    }
    arrays: dict[str, Any] = {**scores, "report": json.dumps(report)}
    np.savez_compressed(arguments.output, **arrays)


def _file(
    bundle: Bundle, name: str, scores: dict[str, np.ndarray], count: int
) -> list[dict[str, Any]]:
    """Measure a file with each interpreter that works here; adds its scores to `scores`."""
    entry = bundle.file(name)
    references = list(golden_references(bundle))[:count]
    grids = [_grid(reference.picture, bundle.spec) for reference in references]
    rows = []
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
        rows.append(
            {
                "key": key,
                "file": name,
                "interpreter": backends[0].name,
                "agreement": proof.agreement,
                "floor": entry.golden_floor,
                "same_on_threads": {
                    threads: bool(np.array_equal(thread_scores, by_threads[0]))
                    for threads, thread_scores in zip(THREADS, by_threads, strict=True)
                },
            }
        )
    return rows


def _grid(picture: Any, spec: ModelSpec) -> np.ndarray:
    photo = read_photo(picture, spec)
    return Placement.plan(photo.size, spec).place(photo.picture)


def _decoded(folder: Path) -> dict[str, str]:
    """Digests of a folder's JPEG files, decoded in full and scaled."""
    full, scaled = (
        ModelSpec(64, 64, ("a", "b"), decoding=decoding) for decoding in ("full", "scaled")
    )
    digests = {}
    for path in sorted(folder.glob("*.jp*g")):
        digests[f"decode {path.name}"] = _photo(path, full)
        digests[f"decode {path.name}, reduced"] = _photo(path, scaled)
    return digests


def _photo(path: Path, spec: ModelSpec) -> str:
    try:
        return _digest(read_photo(path, spec).picture)
    except ImageError:
        return UNREADABLE


def _placed() -> dict[str, str]:
    """Digests of a generated photo, enlarged and reduced to a grid with each fit."""
    y, x = np.mgrid[:301, :403].astype(np.int64)
    channels = (7 * x + 3 * y, x * y // 5 + 11 * x, (x * x + 9 * y) // 4)
    photo = (np.stack(channels, axis=-1) % 256).astype(np.uint8)
    digests = {}
    for size in (96, 512):
        for fit in ("letterbox", "stretch"):
            spec = ModelSpec(size, size, ("a", "b"), fit=fit)
            digests[f"place {fit} {size}"] = _digest(_grid(photo, spec))
    return digests


def _ties() -> dict[str, str]:
    """Digests of the arg-max of scores with many ties, for two to twelve classes."""
    random = np.random.default_rng(0)
    digests = {}
    for classes in (2, 3, 5, 6, 12):
        scores = random.integers(0, 4, (64, 64, classes)).astype(np.float32)
        digests[f"arg-max {classes} classes"] = _digest(to_labels(scores))
    return digests


def _digest(pixels: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()[:16]


def labels_of(scores: Sequence[Any] | np.ndarray) -> np.ndarray:
    """The arg-max of scores (N, H, W, C); labels (N, H, W) stay as they are."""
    array = np.asarray(scores)
    return array if array.ndim == 3 else array.argmax(-1)


if __name__ == "__main__":
    main()
