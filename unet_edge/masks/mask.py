"""Mask: the labels of a picture, and the pictures made from them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, assert_never

import numpy as np
from PIL import Image

from unet_edge.errors import ConfigError
from unet_edge.images.decoding import ImageSource, decode
from unet_edge.images.pixel_arrays import ChannelOrder
from unet_edge.images.placement import Labels
from unet_edge.palette import CLEAR, Color, has_background
from unet_edge.spec import IGNORE, ModelSpec
from unet_edge.system.files import write_atomically

if TYPE_CHECKING:
    from supervision import Detections

    from unet_edge.masks.coco_writing import CocoStyle

MaskStyle = Literal["index", "palette"]
LegendPlace = Literal["none", "on", "beside"]

# A strip of an RGB picture has 1 MiB: Pillow uses 4 bytes a pixel.
_STRIP_PIXELS = 2**18


@dataclass(frozen=True, eq=False)
class Mask:
    """The class index of every pixel of a picture, at the picture's own size.

    `labels` is uint8 (H, W). `classes`, `palette` and `bit_depth` are those of the model's
    contract; `bit_depth` says how a photo that the mask is drawn on becomes 8 bits.
    """

    labels: Labels
    classes: tuple[str, ...]
    palette: tuple[Color, ...]
    bit_depth: int | None = None

    @classmethod
    def of(cls, labels: Labels, spec: ModelSpec) -> Mask:
        """Make a mask of labels with the names and colours of a contract."""
        return cls(labels, spec.classes, spec.palette, spec.bit_depth)

    def __repr__(self) -> str:
        shares = ", ".join(f"{name} {share:.1%}" for name, share in self.coverage().items())
        return f"Mask({self.labels.shape[1]}x{self.labels.shape[0]} px: {shares})"

    def coverage(self) -> dict[str, float]:
        """Share of the picture, 0..1, that each class covers."""
        # In strips, because bincount needs eight bytes for each label.
        counts = np.zeros(256, np.int64)
        for _, strip in self._strips():
            counts += np.bincount(strip.labels.ravel(), minlength=256)
        return {
            name: float(counts[index]) / self.labels.size for index, name in enumerate(self.classes)
        }

    def picture(self, style: MaskStyle = "index") -> Image.Image:
        """The mask as a picture: "index" is grey with value = class, "palette" adds colours.

        The pixels of both are class indices, so both can be read back as labels.
        """
        match style:
            case "index":
                return Image.fromarray(self.labels)
            case "palette":
                colors = np.zeros((256, 3), np.uint8)
                colors[: len(self.palette)] = self.palette
                colors[IGNORE] = (255, 255, 255)
                # Not convert("P"), which chooses a palette of its own and renumbers the pixels. The
                # picture shares the memory of the labels.
                picture = Image.fromarray(self.labels)
                picture.putpalette(colors.tobytes())
                return picture
            case _:
                assert_never(style)

    def save(self, path: str | Path, style: MaskStyle = "palette") -> None:
        """Write the mask as a PNG file, complete or not at all."""
        save_png(self.picture(style), path)

    def colored(self) -> Image.Image:
        """The mask in its palette's colours, RGB."""
        return self.picture("palette").convert("RGB")

    def overlay(
        self,
        image: ImageSource,
        *,
        opacity: float = 0.5,
        legend: LegendPlace = "on",
        color_order: ChannelOrder = "rgb",
    ) -> Image.Image:
        """The photo in RGB, with the classes laid over it; a background stays clear.

        A background is the first of two classes, or a first class that is named so or black. Pixels
        without a label are hatched. The legend names classes with their share of the picture: "on"
        draws those that occur into the upper left corner, "beside" draws all of them on a strip to
        the right of the photo. `color_order` is that of an array. Raises ConfigError when the photo
        and the mask differ in size.
        """
        return self.lay_over(self._own_photo(image, color_order), opacity=opacity, legend=legend)

    def lay_over(
        self, photo: Image.Image, *, opacity: float = 0.5, legend: LegendPlace = "on"
    ) -> Image.Image:
        """Draw `overlay` into an RGB photo itself, in strips, without a copy in memory.

        Returns the photo, or a larger picture with a legend "beside". Raises ConfigError as
        `overlay` does.
        """
        self._require_size(photo)
        strength = np.full(256, round(255 * opacity), np.uint8)
        strength[IGNORE] = 0
        if self.has_background:
            strength[0] = 0
        for top, strip in self._strips():
            photo.paste(strip.colored(), (0, top), Image.fromarray(strength[strip.labels]))
            ignored = strip.labels == IGNORE
            if ignored.any():
                from unet_edge.masks.hatching import hatch  # here: a model's masks need none

                hatch(photo, ignored, top, top)
        if legend == "none":
            return photo
        # Here, not at the top, to keep `import unet_edge` fast: fonts and drawing.
        from unet_edge.masks.legend import draw_legend, legend_beside

        rows = list(zip(self.palette, self.coverage().items(), strict=True))[self.has_background :]
        match legend:
            case "on":
                draw_legend(photo, [(c, f"{name} {s:.1%}") for c, (name, s) in rows if s > 0])
                return photo
            case "beside":
                return legend_beside(photo, [(c, f"{name} {s:.1%}") for c, (name, s) in rows])
            case _:
                assert_never(legend)

    @property
    def has_background(self) -> bool:
        """Whether class 0 is a background; overlays leave it clear."""
        return has_background(self.classes) or self.palette[0] == CLEAR

    def cutout(self, image: ImageSource, *, color_order: ChannelOrder = "rgb") -> Image.Image:
        """The photo in RGBA, with class 0 and ignored pixels transparent.

        Transparent pixels are black, so that their colours are gone and not just hidden.
        `color_order` is that of an array. Raises ConfigError as `overlay` does.
        """
        photo = self._own_photo(image, color_order)
        self.cut_out(photo)
        return photo

    def cut_out(self, photo: Image.Image) -> None:
        """Turn an RGB photo itself into `cutout`, RGBA, in strips.

        Raises ConfigError as `overlay` does.
        """
        self._require_size(photo)
        photo.putalpha(255)  # in place: Pillow uses four bytes for an RGB pixel too
        gone = np.zeros(256, np.uint8)
        gone[0] = gone[IGNORE] = 255
        for top, strip in self._strips():
            hidden = Image.fromarray(gone[strip.labels])
            photo.paste((0, 0, 0, 0), (0, top), hidden)

    def coco(self, file_name: str, style: CocoStyle = "polygons") -> dict[str, Any]:
        """The mask as a COCO file of one picture, plain JSON values; see `coco_writing.coco`."""
        from unet_edge.masks.coco_writing import coco  # here, to keep `import unet_edge` fast

        return coco(self.labels, self.classes, file_name, style)

    def detections(self, *, regions: bool = False) -> Detections:
        """The mask as supervision.Detections, an instance for each class that occurs.

        With `regions`, an instance for each connected region. A background has none. `mask` is
        bool (N, H, W), a byte for each pixel of each instance. `xyxy` is float32 (N, 4), and
        `data["class_name"]` holds the names. Labels have no confidence. Raises BackendError where
        supervision is not installed.
        """
        from unet_edge.masks.detections import detections  # here: supervision is optional

        return detections(self, regions=regions)

    def _strips(self) -> Iterator[tuple[int, Mask]]:
        """Yield the mask in strips of rows, each with the number of its first row."""
        height, width = self.labels.shape
        step = max(1, _STRIP_PIXELS // width)
        for top in range(0, height, step):
            yield top, Mask(self.labels[top : top + step], self.classes, self.palette)

    def _own_photo(self, image: ImageSource, color_order: ChannelOrder) -> Image.Image:
        photo = decode(image, color_order, bit_depth=self.bit_depth)
        return photo.copy() if photo is image else photo

    def _require_size(self, photo: Image.Image) -> None:
        if photo.size != (self.labels.shape[1], self.labels.shape[0]):
            raise ConfigError(
                f"the photo has {photo.width}x{photo.height} px, "
                f"the mask {self.labels.shape[1]}x{self.labels.shape[0]}",
                expected="they must be equal",
            )


def save_png(
    picture: Image.Image, path: str | Path, *, effort: int = 6, made_by: str | None = None
) -> None:
    """Write a PNG file, complete or not at all.

    `effort` is as in `png_bytes`. `made_by` is written into the file, for `is_png_made_by`.
    """
    write_atomically(
        Path(path), lambda file: write_png(picture, file, effort=effort, made_by=made_by)
    )


def is_png_made_by(data: bytes, made_by: str) -> bool:
    """Whether `save_png` wrote the bytes `data` with this `made_by`."""
    return data.startswith(b"\x89PNG") and b"tEXtSoftware\0" + made_by.encode() in data[:1000]


def png_bytes(picture: Image.Image, *, effort: int = 6) -> bytes:
    """The bytes of a picture as a PNG file; `effort` is zlib's level of compression, 1 to 9."""
    buffer = io.BytesIO()
    write_png(picture, buffer, effort=effort)
    return buffer.getvalue()


def write_png(
    picture: Image.Image, file: BinaryIO, *, effort: int = 6, made_by: str | None = None
) -> None:
    """Write a PNG into an open file, so that memory need not hold its bytes, 20 MB of a photo."""
    if made_by is None:
        picture.save(file, "PNG", compress_level=effort)
        return
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Software", made_by)
    picture.save(file, "PNG", compress_level=effort, pnginfo=info)
