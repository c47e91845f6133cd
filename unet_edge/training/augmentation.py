"""Random views of a picture and its mask: turns, zoom, deformation, crops, colour, blur, noise.

Settings give the strengths, and one generator the randomness: the same seed gives the same views.
Pictures are scaled by the same Pillow filter as on the device.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from unet_edge.images.placement import FILTERS, Labels, Pixels, Placement
from unet_edge.spec import IGNORE, ModelSpec
from unet_edge.training.orientation import Orientation, draw_orientation
from unet_edge.training.settings.augmentation import Augmentation
from unet_edge.training.warp import draw_warp


def augment(
    picture: Image.Image,
    labels: Labels,
    spec: ModelSpec,
    crop: tuple[int, int],
    settings: Augmentation,
    random: np.random.Generator,
) -> tuple[Pixels, Labels]:
    """Draw one view of `crop`, (height, width) px, of an RGB picture.

    `labels` has the picture's size, or the size of the photo that the decoder reduced to it.
    Returns pixels uint8 (h, w, 3) and labels uint8 (h, w). Outside the picture, pixels have the
    contract's padding colour and labels are IGNORE. A grey picture may have mode L, which gives the
    same view faster.
    """
    pixels, targets = np.empty((*crop, 3), np.uint8), np.empty(crop, np.uint8)
    augment_into(pixels, targets, picture, labels, spec, settings, random)
    return pixels, targets


def augment_into(
    pixels: Pixels,
    targets: Labels,
    picture: Image.Image,
    labels: Labels,
    spec: ModelSpec,
    settings: Augmentation,
    random: np.random.Generator,
) -> None:
    """Draw one view, as `augment` does, into `pixels` (h, w, 3) and `targets` (h, w)."""
    orientation = draw_orientation(
        any_turn=settings.any_orientation, mirror=settings.horizontal_flip, random=random
    )
    width, height = orientation.turned(picture.size)
    size = _target_size((width, height), spec, settings, random)
    if not settings.warps:
        _cut(pixels, targets, picture, labels, spec, size, orientation, settings, random)
        return
    crop = (targets.shape[0], targets.shape[1])
    warp = draw_warp(size, crop, settings.rotation, settings.elastic, random)
    targets[:], outside = warp.labels(orientation.of_labels(labels))
    patch = warp.picture(orientation.of_picture(picture), spec)
    _write(pixels, _degrade(_jitter_color(patch, settings, random), settings, random))
    pixels[outside] = spec.pad_color  # last, because padding has no jitter or noise


def _cut(
    pixels: Pixels,
    targets: Labels,
    picture: Image.Image,
    labels: Labels,
    spec: ModelSpec,
    size: tuple[int, int],
    orientation: Orientation,
    settings: Augmentation,
    random: np.random.Generator,
) -> None:
    """Cut a window out of the picture scaled to `size`, resampled once by the device's filter.

    The window is turned and mirrored after cutting, because it is smaller than the picture.
    """
    crop = targets.shape
    width, height = orientation.turned(picture.size)
    top, placed_height, rows = _window(size[0], crop[0], height, random)
    left, placed_width, columns = _window(size[1], crop[1], width, random)
    patch = picture.resize(
        orientation.turned((placed_width, placed_height)),
        FILTERS[spec.resample],
        box=orientation.undone((columns[0], rows[0], columns[1], rows[1]), (width, height)),
    )
    patch = orientation.of_picture(patch)
    patch = _degrade(_jitter_color(patch, settings, random), settings, random)
    if (placed_height, placed_width) != crop:
        targets[:] = IGNORE
        # By rows, which is over ten times as fast as by channels.
        pixels[:] = np.frombuffer(bytes(spec.pad_color) * crop[1], np.uint8).reshape(-1, 3)
    inside = (slice(top, top + placed_height), slice(left, left + placed_width))
    _write(pixels[inside], patch)
    # The whole number by which the decoder reduced the picture, usually 1.
    factor = labels.shape[0] // picture.height
    below = _nearest(rows, placed_height, factor, height * factor)
    beside = _nearest(columns, placed_width, factor, width * factor)
    targets[inside] = orientation.look_up(labels, below, beside)


def _write(pixels: Pixels, patch: Image.Image) -> None:
    """Write an RGB or grey picture into pixels (h, w, 3)."""
    values = np.asarray(patch)
    if values.ndim == 3:
        pixels[:] = values
        return
    for channel in range(3):  # five times as fast as broadcasting over the last axis
        pixels[..., channel] = values


def _target_size(
    size: tuple[int, int], spec: ModelSpec, settings: Augmentation, random: np.random.Generator
) -> tuple[int, int]:
    """Draw the (height, width) px of a picture of `size` = (width, height) px after zoom.

    Zoom 1 is the picture's size on the inference grid. Stretch is relative to its own aspect; the
    tutorial's was relative to a square.
    """
    placement = Placement.plan(size, spec)
    low, high = np.log(settings.scale)
    zoom = float(np.exp(random.uniform(low, high)))
    stretch = float(np.exp(random.uniform(-1, 1) * np.log1p(settings.aspect) / 2))
    height = max(1, round(placement.placed_height * zoom / stretch))
    width = max(1, round(placement.placed_width * zoom * stretch))
    return height, width


def _window(
    scaled: int, crop: int, source: int, random: np.random.Generator
) -> tuple[int, int, tuple[float, float]]:
    """Draw the position of a picture of `scaled` px relative to a crop, along one axis.

    Returns the picture's start in the crop, the number of px it fills there, and the visible span
    of the source, within 0..source px.
    """
    if scaled <= crop:
        return int(random.integers(crop - scaled + 1)), scaled, (0.0, float(source))
    start = int(random.integers(scaled - crop + 1))
    ratio = source / scaled
    return 0, crop, (start * ratio, min(float(source), (start + crop) * ratio))


def _nearest(span: tuple[float, float], count: int, factor: int, source: int) -> np.ndarray:
    """The indices of `source` labels at `count` pixels of a span, with `factor` labels a px."""
    low, high = span[0] * factor, span[1] * factor
    centres = low + (np.arange(count) + 0.5) * (high - low) / count
    return np.minimum(centres.astype(np.intp), source - 1)


def _jitter_color(
    patch: Image.Image, settings: Augmentation, random: np.random.Generator
) -> Image.Image:
    """Rotate hue and scale saturation, brightness and contrast, by one matrix on RGB.

    Hue and saturation rotate and scale the colour difference (I, Q of YIQ) and keep the luma, so
    grey stays grey. This takes a third of the time of a conversion to HSV and back.
    """
    angle = 2 * np.pi * random.uniform(-settings.hue, settings.hue)
    saturation = _gain(settings.saturation, random)
    brightness = _gain(settings.brightness, random)
    contrast = _gain(settings.contrast, random)
    if angle == 0 and saturation == brightness == contrast == 1:
        return patch
    offset = brightness * (1 - contrast) * 128
    if patch.mode == "L":
        values = np.floor(brightness * contrast * np.arange(256) + offset + 0.5)
        return patch.point(np.clip(values, 0, 255).astype(int).tolist())
    turned, crossed = saturation * np.cos(angle), saturation * np.sin(angle)
    matrix = np.empty((3, 4))
    matrix[:, :3] = brightness * contrast * (_LUMA + turned * _CHROMA + crossed * _QUARTER_TURN)
    matrix[:, 3] = offset
    return patch.convert("RGB", tuple(matrix.ravel().tolist()))


# NTSC's YIQ (FCC 1953): Y is Rec. 601 luma, I and Q are the colour difference.
_TO_YIQ = np.array(
    [[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]]
)
_FROM_YIQ = np.linalg.inv(_TO_YIQ)
# Matrices on RGB that keep only the luma, only the colour difference, or the colour difference
# rotated by 90 degrees. A rotation by any angle is a sum of them.
_LUMA, _CHROMA, _QUARTER_TURN = (
    _FROM_YIQ @ np.array(kept) @ _TO_YIQ
    for kept in (
        [[1, 0, 0], [0, 0, 0], [0, 0, 0]],
        [[0, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[0, 0, 0], [0, 0, -1], [0, 1, 0]],
    )
)


def _gain(strength: float, random: np.random.Generator) -> float:
    """Draw a factor of 1/(1+strength)..1+strength, uniformly on a logarithmic scale."""
    return float(np.exp(random.uniform(-1, 1) * np.log1p(strength)))


def _degrade(
    patch: Image.Image, settings: Augmentation, random: np.random.Generator
) -> Image.Image:
    """Blur half of the views and add grey noise to half, up to the given strengths."""
    if settings.blur and random.random() < 0.5:
        patch = patch.filter(ImageFilter.GaussianBlur(random.uniform(0, settings.blur)))
    if settings.noise and random.random() < 0.5:
        deviation = 255 * random.uniform(0, settings.noise)
        noise = random.standard_normal((patch.height, patch.width, 1), np.float32)
        values = np.asarray(patch)
        noisy = values + np.float32(deviation) * (noise if values.ndim == 3 else noise[..., 0])
        patch = Image.fromarray(np.clip(np.round(noisy), 0, 255).astype(np.uint8))
    return patch
