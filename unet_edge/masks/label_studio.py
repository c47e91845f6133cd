"""Masks as pre-annotations of Label Studio: tasks with brush masks, and a labelling configuration.

A brush mask is an RGBA picture, 255 inside in all four channels, in the bit stream of
@thi.ng/rle-pack: 32 bits of the number of bytes, 5 bits of the word size less 1, four sizes of run
lengths in 4 bits each less 1; then for each run a bit 1, 2 bits that choose a size, the length less
1 in that size, and the byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from unet_edge.masks.mask import Mask

_SIZES = (3, 4, 8, 16)  # bits of a run's length, as Label Studio itself writes them
_CHANNELS = 4
_FROM, _TO, _KEY = "label", "image", "image"


def task(url: str, mask: Mask, *, model: str, confidence: float) -> dict[str, Any]:
    """Make a task with a prediction, as plain JSON values.

    `url` is where Label Studio finds the photo. Each class that occurs, except class 0, has a brush
    mask. `model` names the model, and `confidence` is 0..1: the data manager sorts by it.
    """
    height, width = mask.labels.shape
    results = [
        {
            "id": f"class-{index}",
            "type": "brushlabels",
            "from_name": _FROM,
            "to_name": _TO,
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {
                "format": "rle",
                "rle": brush_rle(mask.labels == index),
                "brushlabels": [mask.classes[index]],
            },
        }
        for index in np.unique(mask.labels).tolist()
        if 0 < index < len(mask.classes)
    ]
    prediction = {"model_version": model, "score": confidence, "result": results}
    return {"data": {_KEY: url}, "predictions": [prediction]}


def labelling_config(classes: Sequence[str], palette: Sequence[tuple[int, int, int]]) -> str:
    """The XML of a project's labelling interface that takes the tasks of `task`."""
    labels = "".join(
        f"    <Label value={quoteattr(name)} background={quoteattr('#' + bytes(color).hex())}/>\n"
        for name, color in zip(classes[1:], palette[1:], strict=True)
    )
    return (
        f'<View>\n  <Image name="{_TO}" value="${_KEY}" zoom="true"/>\n'
        f'  <BrushLabels name="{_FROM}" toName="{_TO}">\n{labels}  </BrushLabels>\n</View>\n'
    )


def brush_rle(inside: NDArray[np.bool_]) -> list[int]:
    """Encode a mask, bool (H, W), as the bytes of Label Studio's run lengths."""
    flat = inside.ravel()
    starts = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1))
    lengths = np.diff(starts, append=flat.size) * _CHANNELS
    pieces = [f"{flat.size * _CHANNELS:032b}{7:05b}", *(f"{bits - 1:04b}" for bits in _SIZES)]
    longest = 1 << _SIZES[-1]
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        value = "11111111" if flat[start] else "00000000"
        full, rest = divmod(length, longest)
        pieces += [_run(longest, value)] * full
        if rest:
            pieces.append(_run(rest, value))
    bits = np.frombuffer("".join(pieces).encode(), np.uint8) - ord("0")
    encoded: list[int] = np.packbits(bits).tolist()  # zeros fill the last byte
    return encoded


def _run(length: int, value: str) -> str:
    """The bits of a run of `length` equal bytes; `value` is a byte as text."""
    kind = next(kind for kind, bits in enumerate(_SIZES) if length <= 1 << bits)
    return f"1{kind:02b}{length - 1:0{_SIZES[kind]}b}{value}"
