"""Segmenter: a model and its contract, from any picture to a mask of that picture's size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unet_edge.errors import BundleError, ConfigError, ModelFileError, SpecError
from unet_edge.files import sha256
from unet_edge.imaging import ChannelOrder, ImageSource, Placement, decode, resize_labels
from unet_edge.mask import Mask
from unet_edge.metadata import load_model_bytes, parse_contract
from unet_edge.runtime.backends import Backend, open_backend, to_labels, to_logits
from unet_edge.runtime.packages import Package
from unet_edge.smooth import Edges, probabilities, smooth_labels
from unet_edge.spec import ModelSpec

Lap = Callable[[str], None]
"""Called at the end of each stage with its name: decode, place, infer, mask, restore."""

STAGES = ("decode", "place", "infer", "mask", "restore")

KERAS_MODEL = "model.keras"
SPEC_FILE = "spec.json"
CONFIG_FILE = "config.toml"


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says of one picture.

    `picture` is the photo, upright RGB. `logits` is float32 (h, w, classes), the part of the
    model's grid that the photo fills.
    """

    picture: Image.Image
    logits: NDArray[np.float32]
    spec: ModelSpec

    def mask(self, edges: Edges = "nearest") -> Mask:
        """The mask at the photo's own size; "smooth" interpolates the scores, in strips."""
        _require_edges(edges)
        width, height = self.picture.size
        if edges == "smooth":
            return Mask.of(smooth_labels(self.logits, height, width), self.spec)
        return Mask.of(resize_labels(to_labels(self.logits), height, width), self.spec)

    def probabilities(self, edges: Edges = "nearest") -> NDArray[np.uint8]:
        """Each class's probability as round(255 p), uint8 (classes, H, W) of the photo's size.

        The highest is the class that `mask` gives with the same `edges`, rounding apart. For
        unrounded ones, take the softmax of `logits`.
        """
        _require_edges(edges)
        width, height = self.picture.size
        return probabilities(self.logits, height, width, edges)


class Segmenter:
    """Turns pictures into masks with one opened model.

    Not for several threads at once: an interpreter holds one set of tensors.
    """

    def __init__(self, spec: ModelSpec, backend: Backend, name: str, digest: str = "") -> None:
        """Join a contract and a backend; `name` is what reports call the model.

        `digest` is the SHA-256 of the model's file, which tells its masks from another's.
        """
        self.spec = spec
        self.backend = backend
        self.name = name
        self.digest = digest

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        file: str | None = None,
        threads: int | None = None,
        backend: Package | None = None,
    ) -> Segmenter:
        """Open a bundle, a single .tflite or .onnx file, a .keras file or a training run.

        From a bundle, `file` names one of its files and `backend` the interpreter, as pip does.
        Without both, what `unet-edge tune` chose on this machine is taken, on as many threads
        as it chose unless `threads` says otherwise. Where nothing was chosen, or for another
        machine, bundle or version of the interpreter, it is the first file that kept its
        agreement floor and that an interpreter installed here can run (see `Bundle.preferred`).
        `threads` then defaults to this machine's processors, at most four.

        Raises ModelFileError, BundleError, SpecError, ConfigError (`backend`) or BackendError,
        each saying what mends it.
        """
        from unet_edge.bundle import MANIFEST, Bundle  # here: `import unet_edge` would pay for it

        path = Path(path)
        if (path / MANIFEST).is_file():
            from unet_edge.runtime.opening import open_from_bundle

            bundle = Bundle.open(path)
            entry, opened = open_from_bundle(bundle, file, threads, backend)
            return cls(bundle.spec, opened, entry.name, entry.sha256)
        if file is not None:
            raise BundleError(f"{path} is no bundle (it has no {MANIFEST}), so it holds no {file}")
        if path.suffix == ".keras" or (path / KERAS_MODEL).is_file():
            if backend is not None:
                raise ConfigError(f"{path} is run by Keras; leave out the backend, {backend}")
            return _open_keras(cls, path)
        if path.is_dir():
            raise ModelFileError(
                f"{path} holds neither {MANIFEST} (a bundle) nor {KERAS_MODEL} (a training run)"
            )
        model = load_model_bytes(path)
        contract = parse_contract(model, str(path))
        opened = open_backend(model, contract.format, threads, backend)
        return cls(contract.spec, opened, path.name, sha256(model))

    def segment(
        self,
        image: ImageSource,
        *,
        color_order: ChannelOrder = "rgb",
        edges: Edges = "nearest",
    ) -> Mask:
        """Segment one picture: a path, file bytes, a Pillow image, or uint8 (H, W, 3).

        `color_order` is that of an array: "bgr" for one of OpenCV's. `edges` "smooth" compares
        scores interpolated at the photo's own size, which takes longer; the edges of "nearest"
        are those of the model's grid.

        Raises ImageError for what is no picture, ConfigError for "bgr" of anything but an array,
        and BackendError for smooth edges of a file that gives labels.
        """
        _require_edges(edges)
        picture = decode(image, color_order)
        if edges == "smooth":
            return self.predict(picture).mask(edges)
        return self.timed_segment(picture, _no_lap)

    def predict(self, image: ImageSource, *, color_order: ChannelOrder = "rgb") -> Prediction:
        """The scores of one picture, of which masks and probabilities can be made.

        Takes pictures as `segment` does. Raises BackendError for a file that gives labels: it
        says how to export one with scores.
        """
        picture = decode(image, color_order)
        placement = Placement.plan(picture.size, self.spec)
        scores = self.backend.scores(placement.place(picture))
        # A copy of its own: the next call may overwrite the scores.
        logits = to_logits(scores[placement.box], self.backend)
        return Prediction(picture, logits, self.spec)

    def timed_segment(self, image: ImageSource, lap: Lap) -> Mask:
        """As `segment`, calling `lap` as each of STAGES ends."""
        picture = decode(image)
        lap("decode")
        placement = Placement.plan(picture.size, self.spec)
        pixels = placement.place(picture)
        lap("place")
        match self.spec.output:
            case "logits":
                scores = self.backend.scores(pixels)
                lap("infer")
                labels = to_labels(scores)
            case "labels":
                labels = self.backend.labels(pixels)
                lap("infer")
            case _:
                assert_never(self.spec.output)
        lap("mask")
        mask = Mask.of(placement.restore(labels), self.spec)
        lap("restore")
        return mask


def _require_edges(edges: Edges) -> None:
    if edges not in get_args(Edges):
        raise ConfigError(f"edges is {edges!r}; known are {', '.join(get_args(Edges))}")


def _no_lap(_: str) -> None:
    pass


def _open_keras(cls: type[Segmenter], path: Path) -> Segmenter:
    # Here, not at the top: Keras is no part of the device install.
    from unet_edge.runtime.backends.keras_model import KerasBackend, load_keras

    model_path = path if path.suffix == ".keras" else path / KERAS_MODEL
    spec = read_spec(model_path.parent / SPEC_FILE)
    backend = KerasBackend(load_keras(model_path))
    return cls(spec, backend, model_path.name, sha256(model_path.read_bytes()))


def read_spec(path: Path) -> ModelSpec:
    """The contract beside a Keras model. Raises SpecError when there is none."""
    try:
        return ModelSpec.from_json(path.read_bytes())
    except FileNotFoundError:
        raise SpecError(
            f"no {path.name} in {path.parent}: a .keras file needs the contract that "
            "'unet-edge train' wrote beside it"
        ) from None
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror or error}") from error
