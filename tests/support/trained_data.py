"""Make the committed test data: a small run, its bundle, a network, a smaller bundle, digests.

    python tests/support/trained_data.py           export the committed run again
    python tests/support/trained_data.py --train   train run and network again, then export the run

`data/small-bundle` has two files of three convolutions on 48x32 px; they are sealed again.

Tests of the device start from these bundles, so they need no TensorFlow and no training. Run this
when an export writes something new, on any machine: no test asserts a figure that depends on the
processor.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import tempfile
import zipfile
from dataclasses import fields, replace
from pathlib import Path
from unittest import mock

from paths import ROOT, SMALL_BUNDLE
from sealing import seal_manifest

from unet_edge.bundle.manifest import MANIFEST
from unet_edge.demo.cells import CLASSES, write_dataset
from unet_edge.model_files.embedded_contract import Contract, seal
from unet_edge.spec import SCHEMA, ModelSpec
from unet_edge.system.files import sha256

DATA = ROOT / "tests" / "data" / "trained"
RUN, BUNDLE, DISCS = DATA / "run", DATA / "bundle", DATA / "discs.npz"
DIGESTS = DATA / "SHA256SUMS"

RUN_FILES = ("config.toml", "model.keras", "result.json", "spec.json", "split.json")
GOLDEN = 4

# Half of the smallest published width: an eighth of MobileNet's channels. The layers are the same,
# and all files of the bundle together have less than a megabyte.
ALPHA = 0.125


def write_pictures(root: Path) -> Path:
    """Write the pictures that the run trains on: 16 for training, 5 for validation."""
    write_dataset(root, train=16, validation=5, seed=7)
    return root


def train_run(pictures: Path, run: Path) -> None:
    """Train the run, and keep the files that an export or an evaluation reads."""
    from unet_edge.training.run import train
    from unet_edge.training.settings.augmentation import Augmentation
    from unet_edge.training.settings.network import ALPHAS, Network
    from unet_edge.training.settings.optimisation import Optimisation
    from unet_edge.training.settings.train_config import TrainConfig

    with mock.patch.dict(ALPHAS, {"mobilenet_v1": (ALPHA,)}):  # type: ignore[arg-type]
        config = TrainConfig(
            data=pictures,
            classes=CLASSES,
            size=(192, 192),
            crop=(96, 96),
            network=Network(alpha=ALPHA),
            encoder_weights="none",
            steps=600,
            rounds=3,
            optimisation=Optimisation(learning_rate=0.005),
            augmentation=Augmentation(scale=(0.8, 1.25), hue=0, any_orientation=True),
            name="cells",
        )
        with tempfile.TemporaryDirectory() as scratch:
            train(config, Path(scratch) / "run")
            shutil.rmtree(run, ignore_errors=True)
            run.mkdir()
            for name in RUN_FILES:
                shutil.copy(Path(scratch) / "run" / name, run / name)
    # The settings of a run must name a published width, and no folder of this machine.
    stated = replace(config, data=Path("cells"), network=Network(alpha=0.25))
    (run / "config.toml").write_text(stated.to_toml(), encoding="utf-8")
    _deflate(run / "model.keras")


def _deflate(path: Path) -> None:
    """Compress a .keras file; Keras writes it uncompressed, and reads both."""
    with zipfile.ZipFile(path) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for info, data in members:
            archive.writestr(zipfile.ZipInfo(info.filename), data, zipfile.ZIP_DEFLATED)


def export_run(pictures: Path, run: Path, output: Path) -> None:
    """Export every format of `run`, trained on `pictures`, to the bundle `output`."""
    from converters.export import export
    from converters.settings import ExportSettings
    from unet_edge.runtime.backends.keras_model import load_keras
    from unet_edge.runtime.segmenter import read_spec
    from unet_edge.training.config import read_config

    model = run / "model.keras"
    export(
        load_keras(model),
        read_spec(run / "spec.json"),
        replace(read_config(run), data=pictures).dataset(),
        output,
        keras_sha256=sha256(model.read_bytes()),
        settings=ExportSettings(golden=GOLDEN),
    )


def train_discs(path: Path) -> None:
    """Train the network of `discs.py` and save its weights, rounded to float16."""
    import numpy as np
    from discs import train_network

    weights = train_network().get_weights()
    np.savez_compressed(path, *(weight.astype(np.float16) for weight in weights))


def seal_small(folder: Path) -> None:
    """Write the contracts and the manifest of the small bundle again, for the same models."""
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    known = {field.name for field in fields(ModelSpec)}
    spec = ModelSpec.from_dict(
        {"schema": SCHEMA} | {k: v for k, v in manifest["spec"].items() if k in known}
    )
    processor = {"model": "some", "architecture": "x86_64", "int8": "x86 with VNNI"}
    added = {"label_iou": None, "float_layers": [], "measured_by": "some interpreter 1.0"}
    for entry in manifest["files"]:
        data = (folder / entry["name"]).read_bytes()
        size = int(re.findall(rb'"payload_bytes": (\d+)', data)[-1])
        sealed = seal(data[:size], Contract(spec, entry["format"], entry["precision"]))
        (folder / entry["name"]).write_bytes(sealed)
        entry |= added | {"golden_agreement": entry["agreement"]}
        entry |= {"sha256": sha256(sealed), "bytes": len(sealed)}
    for golden in manifest["golden"]:
        golden["chosen"] = {"reason": "typical", "figure": None, "file": None}
    reference = {"label_iou": None, "worst_miou": None, "network": None, "parameters": 954}
    manifest |= {
        "spec": spec.to_dict(),
        "reference": manifest["reference"] | reference,
        "data": {"train": 8, "validation": 3, "calibration": 8},
        "license": None,
        "card": [],
        "search": {
            "min_agreement": 0.99,
            "max_miou_drop": None,
            "errors": [{"layers": ["a", "b"], "divergence": 0.1}],
            "candidates": [
                {"recipe": "int8", "precision": "int8", "float_layers": ["a"], "bytes": 6106}
                | {"agreement": 0.996, "worst": 0.99, "miou_drop": None, "ms": 0.5}
                | {"holds": True, "pareto": True, "kept": True}
            ],
        },
        "processor": processor,
        "test": {
            "pictures": 2,
            "of": 3,
            "keras": {"label_miou": 0.5, "label_iou": [0.5, None], "agreement": None},
            "files": [
                {"label_miou": 0.5, "label_iou": [0.5, None], "agreement": 0.99}
                for _ in manifest["files"]
            ],
        },
        "preferred": [e["name"] for e in manifest["files"] if e["agreement"] >= e["floor"]],
    }
    seal_manifest(folder, manifest)


def digests() -> str:
    """Digests of every other file of the folder, as `sha256sum` writes them."""
    files = sorted(path for path in DATA.rglob("*") if path.is_file() and path != DIGESTS)
    return "".join(
        f"{sha256(path.read_bytes())}  {path.relative_to(DATA).as_posix()}\n" for path in files
    )


def main() -> None:
    """Make the data, as the module's docstring says."""
    parser = argparse.ArgumentParser(description="Make the committed test data.")
    parser.add_argument("--train", action="store_true", help="train run and network again")
    train_again = parser.parse_args().train
    with tempfile.TemporaryDirectory() as scratch:
        pictures = write_pictures(Path(scratch) / "cells")
        if train_again:
            train_run(pictures, RUN)
            train_discs(DISCS)
        export_run(pictures, RUN, BUNDLE)
    seal_small(SMALL_BUNDLE)
    DIGESTS.write_text(digests(), encoding="utf-8")


if __name__ == "__main__":
    main()
