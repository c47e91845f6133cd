"""Segmenter: a model and its contract, which turn any picture into a mask of its size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, assert_never, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unet_edge.errors import BundleError, ConfigError, ModelFileError, SpecError
from unet_edge.images.decoding import ImageSource, Photo, decode, read_photo
from unet_edge.images.pixel_arrays import ChannelOrder
from unet_edge.images.placement import Pixels, Placement, resize_labels
from unet_edge.masks.mask import Mask
from unet_edge.masks.upsampling import Edges, probabilities, smooth_labels
from unet_edge.model_files.embedded_contract import load_model_bytes
from unet_edge.runtime.argmax import to_labels
from unet_edge.runtime.backends.backend import Backend, no_scores, to_logits
from unet_edge.runtime.grid_labels import GridLabels
from unet_edge.runtime.interpreter_choice import open_backend
from unet_edge.runtime.packages import Package
from unet_edge.runtime.run_folder import (
    PROGRESS_FOLDER,
    absence,
    foreign_model,
    is_foreign_model,
)
from unet_edge.spec import ModelSpec
from unet_edge.system.files import read_regular, sha256

if TYPE_CHECKING:
    from unet_edge.runtime.stream import SegmentedStream
    from unet_edge.runtime.tile_settings import Tiles
    from unet_edge.runtime.tiling import Watch
    from unet_edge.streams.frame import Source
    from unet_edge.streams.policy import Policy

Lap = Callable[[str], None]
"""Called at the end of each stage with its name: decode, place, infer, mask, restore."""

STAGES = ("decode", "place", "infer", "mask", "restore")

KERAS_MODEL = "model.keras"
SPEC_FILE = "spec.json"
CONFIG_FILE = "config.toml"
MOST_CONFIG = 2**20
"""The most bytes of a run's settings file; ours have about 2 kB."""
SPLIT_FILE = "split.json"
BUNDLE_FOLDER = "bundle"

_MOST_SPEC = 2**20
"""The most bytes of a contract file, as inside a model file."""


def _no_lap(_: str) -> None:
    pass


@dataclass(frozen=True, eq=False)
class Prediction:
    """The scores of one picture.

    `size` is the photo's (width, height) px. `logits` is float32 (h, w, classes), the part of the
    model's grid that the photo fills.
    """

    size: tuple[int, int]
    logits: NDArray[np.float32]
    spec: ModelSpec

    def mask(self, edges: Edges = "nearest") -> Mask:
        """The mask at the photo's own size; "smooth" interpolates the scores, in strips."""
        _require_edges(edges)
        width, height = self.size
        if edges == "smooth":
            return Mask.of(smooth_labels(self.logits, height, width), self.spec)
        return Mask.of(resize_labels(to_labels(self.logits), height, width), self.spec)

    def probabilities(self, edges: Edges = "nearest") -> NDArray[np.uint8]:
        """Each class's probability as round(255 p), uint8 (classes, H, W) of the photo's size.

        The class of the highest probability is the one of `mask` with the same `edges`, except for
        rounding. For unrounded probabilities, take the softmax of `logits`.
        """
        _require_edges(edges)
        width, height = self.size
        return probabilities(self.logits, height, width, edges)


@dataclass(frozen=True, eq=False)
class TiledPrediction:
    """The mask and probabilities of one picture in tiles, whose logits may not fit into memory.

    `probabilities` holds each class's probability as round(255 p), uint8 (classes, H, W) of the
    photo's size. The class of the highest is the mask's class, except for rounding.
    """

    mask: Mask
    probabilities: NDArray[np.uint8]


class Segmenter:
    """Turns pictures into masks with one opened model.

    Several threads may share a Segmenter: they decode and draw in parallel, and the model runs
    for one thread at a time.
    """

    def __init__(self, spec: ModelSpec, backend: Backend, name: str, digest: str = "") -> None:
        """Join a contract and a backend; reports call the model `name`.

        `digest` is the SHA-256 of the model's file.
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

        `file` names a file of the bundle, `backend` the pip package of an interpreter. Without
        both, the choice of `unet-edge tune` on this machine is used, with its number of threads
        unless `threads` is given. A choice counts until the board, bundle or interpreter version
        changes. Without a choice, the first file is used that reached its agreement floor and
        that an installed interpreter can run (see `Bundle.preferred`). `threads` then defaults to
        this machine's processors, at most four.

        Raises ModelFileError, BundleError, SpecError, ConfigError (for `backend` or `threads`) or
        BackendError.
        """
        from unet_edge.bundle.bundle import Bundle
        from unet_edge.bundle.manifest import MANIFEST

        path = Path(path)
        if (path / MANIFEST).exists():
            from unet_edge.runtime.bundle_opening import open_from_bundle

            bundle = Bundle.open(path)
            entry, opened = open_from_bundle(bundle, file, threads, backend)
            return cls(bundle.spec, opened, entry.name, entry.sha256)
        if file is not None:
            raise BundleError(
                f"{path} is not a bundle, so it has no file {file}",
                expected=f"a bundle is a folder with {MANIFEST}",
            )
        if is_foreign_model(path):
            foreign = foreign_model(path)
            raise ModelFileError(foreign.found, fix=foreign.fix)
        if path.suffix == ".keras" or (path / KERAS_MODEL).is_file():
            if backend is not None:
                raise ConfigError(f"Keras runs {path}, not {backend}", fix="leave out the backend")
            return _open_keras(cls, path)
        if path.is_dir():
            if (path / PROGRESS_FOLDER).is_dir():
                unfinished = absence(path, KERAS_MODEL)
                raise ModelFileError(unfinished.found, fix=unfinished.fix)
            raise ModelFileError(
                f"{path} has neither {MANIFEST} nor {KERAS_MODEL}",
                expected="it must be a bundle or a training run",
            )
        from unet_edge.model_files.contract_check import checked_contract  # not for Keras

        model = load_model_bytes(path)
        contract = checked_contract(model, str(path))
        opened = open_backend(model, contract.format, threads, backend)
        return cls(contract.spec, opened, path.name, sha256(model))

    def segment(
        self,
        image: ImageSource | Photo,
        *,
        color_order: ChannelOrder = "rgb",
        edges: Edges = "nearest",
        tiles: Tiles | None = None,
        watch: Watch | None = None,
    ) -> Mask:
        """Segment one picture: a path, file bytes, a Pillow image, or uint8 (H, W, 3).

        A contract with scaled decoding needs the file: a JPEG that is already decoded is not
        reduced as in training. A Photo must come from `read_photo` with this contract.

        `color_order` is the channel order of an array: "bgr" for OpenCV's. With `edges` "smooth",
        scores are interpolated at the photo's own size and then compared, which takes longer. With
        "nearest", edges follow the model's grid. With `tiles`, a picture larger than a tile is cut
        instead of shrunk to the model's size, and `watch` is called after each tile. A picture
        that fits one tile is segmented as without `tiles`. At a scale of 1, both `edges` give the
        same mask in tiles.

        Raises ImageError when `image` cannot be read, ConfigError for an unknown `color_order` or
        another order than "rgb" of anything but an array, and BackendError for smooth edges or
        tiles of a file that outputs labels.
        """
        _require_edges(edges)
        if tiles is not None:
            self.require_scores()
            picture = _full_size_picture(image, color_order, self.spec)
            if not tiles.fits_one_tile(picture.size, self.spec):
                from unet_edge.runtime.tiling import Tiling, tiled_labels

                tiling = Tiling.plan(picture.size, self.spec, tiles)
                labels = tiled_labels(picture, tiling, self.logits, edges, watch or _no_watch)
                return Mask.of(labels, self.spec)
        photo = read_photo(image, self.spec, color_order)
        if edges == "smooth":
            return self.predict(photo).mask(edges)
        return self.timed_segment(photo, _no_lap)

    def predict(
        self, image: ImageSource | Photo, *, color_order: ChannelOrder = "rgb"
    ) -> Prediction:
        """The scores of one picture, for masks and probabilities.

        Takes pictures as `segment` does. Raises BackendError for a file that outputs labels.
        """
        photo = read_photo(image, self.spec, color_order)
        placement = Placement.plan(photo.size, self.spec)
        scores = self.backend.scores(placement.place(photo.picture))
        logits = to_logits(scores[placement.box], self.backend)
        return Prediction(photo.size, logits, self.spec)

    def predict_tiles(
        self,
        image: ImageSource | Photo,
        tiles: Tiles,
        *,
        color_order: ChannelOrder = "rgb",
        edges: Edges = "nearest",
        watch: Watch | None = None,
    ) -> TiledPrediction:
        """The mask and the probabilities of one picture in tiles; see `segment`."""
        _require_edges(edges)
        picture = _full_size_picture(image, color_order, self.spec)
        if tiles.fits_one_tile(picture.size, self.spec):
            prediction = self.predict(image, color_order=color_order)
            return TiledPrediction(prediction.mask(edges), prediction.probabilities(edges))
        self.require_scores()
        from unet_edge.runtime.tiling import Tiling, tiled_probabilities

        tiling = Tiling.plan(picture.size, self.spec, tiles)
        labels, shares = tiled_probabilities(
            picture, tiling, self.logits, edges, watch or _no_watch
        )
        return TiledPrediction(Mask.of(labels, self.spec), shares)

    def logits(self, pixels: Pixels) -> NDArray[np.float32]:
        """The logits of a grid, uint8 (H, W, 3), as a new array, float32 (H, W, classes).

        Raises BackendError for a file that outputs labels.
        """
        return to_logits(self.backend.scores(pixels), self.backend)

    def timed_segment(self, image: ImageSource | Photo, lap: Lap) -> Mask:
        """As `segment`; calls `lap` when each of STAGES ends."""
        mask = self.grid_labels(image, lap).mask()
        lap("restore")
        return mask

    def grid_labels(self, image: ImageSource | Photo, lap: Lap = _no_lap) -> GridLabels:
        """Segment one picture, and leave its labels on the model's grid.

        Calls `lap` when each of STAGES but the last ends. Raises as `segment` does.
        """
        photo = read_photo(image, self.spec)
        lap("decode")
        placement = Placement.plan(photo.size, self.spec)
        pixels = placement.place(photo.picture)
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
        return GridLabels(photo.size, labels[placement.box], self.spec)

    def stream(
        self,
        source: Source | str | Path,
        *,
        policy: Policy | None = None,
        smoothing: float = 0.0,
    ) -> SegmentedStream:
        """Segment the frames of a video, camera or network stream, one after another.

            for frame, mask in segmenter.stream("clip.mp4"):
                print(f"{frame.time:.2f} s", mask.coverage())

        `source` is a Source, or what `open_source` takes: a file's name, the URL of a network
        stream, a camera such as "/dev/video0". `policy` is "every" or "latest"; by default every
        frame of a file, and the latest frame of a camera. `smoothing` in 0..1 is the weight of the
        frames before in each frame's scores; see `runtime.stream`. Close the
        result, or use it as a context manager, to free the source early.

        Raises StreamError for a source that cannot be read, and as `segment` does.
        """
        from unet_edge.runtime.stream import SegmentedStream
        from unet_edge.streams.open_source import open_source

        opened = open_source(str(source)) if isinstance(source, str | Path) else source
        return SegmentedStream(opened, [self], policy=policy, smoothing=smoothing)

    def require_scores(self) -> None:
        """Raise BackendError if the file outputs labels and no scores."""
        if self.spec.output == "labels":
            raise no_scores()


def _require_edges(edges: Edges) -> None:
    if edges not in get_args(Edges):
        raise ConfigError(
            f"edges is {edges!r}",
            expected=f"it must be one of {', '.join(get_args(Edges))}",
        )


def _full_size_picture(
    image: ImageSource | Photo, color_order: ChannelOrder, spec: ModelSpec
) -> Image.Image:
    """The picture at its own size, for tiles."""
    if isinstance(image, Photo):
        if not image.is_full_size:
            raise ConfigError(
                "the decoder has reduced this photo",
                expected="tiles need the photo at its own size",
                fix="give the file itself",
            )
        return image.picture
    return decode(image, color_order, bit_depth=spec.bit_depth)


def _no_watch(done: int, total: int) -> None:
    pass


def _open_keras(cls: type[Segmenter], path: Path) -> Segmenter:
    # Here, not at the top: the device install has no Keras.
    from unet_edge.runtime.backends.keras_model import KerasBackend, load_keras

    model_path = path if path.suffix == ".keras" else path / KERAS_MODEL
    if not model_path.exists():
        raise ModelFileError(f"no such model file: {model_path}")
    spec = read_spec(model_path.parent / SPEC_FILE)
    backend = KerasBackend(load_keras(model_path))
    backend.require(spec, str(model_path))
    return cls(spec, backend, model_path.name, sha256(model_path.read_bytes()))


_FROM_TRAINING = (
    f"{KERAS_MODEL} must be in the folder that 'unet-edge train' wrote, beside its contract "
    f"{SPEC_FILE}; other Keras models cannot be read"
)


def read_spec(path: Path) -> ModelSpec:
    """The contract beside a Keras model. Raises SpecError when it cannot be read."""
    try:
        return ModelSpec.from_json(read_regular(path, _MOST_SPEC))
    except (FileNotFoundError, NotADirectoryError):
        found, expected, fix = absence(path.parent, path.name, _FROM_TRAINING)
        raise SpecError(found, expected=expected, fix=fix) from None
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror or error}") from error
