"""YUV samples as RGB, with integers: the same pixels on every processor.

libswscale, which ffmpeg uses, has a routine for each kind of processor, and they round
differently. So this module converts by itself. A colour sample holds for all pixels that share it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unet_edge.images.placement import Pixels
from unet_edge.streams.yuv_colors import LUMA_SHARES, YuvColors


def rgb_of_yuv(
    y: NDArray[np.uint8],
    u: NDArray[np.uint8],
    v: NDArray[np.uint8],
    colors: YuvColors,
) -> Pixels:
    """Convert luma (H, W) and colour samples to RGB, uint8 (H, W, 3).

    `u` and `v` are (H, W), (H, ceil(W / 2)) or (ceil(H / 2), ceil(W / 2)). Each value is the exact
    one, rounded; it may be rounded the other way within 3/64 of a half.
    """
    height, width = y.shape
    rows = 1 if u.shape[0] == height else 2
    columns = 1 if u.shape[1] == width else 2
    tables = _tables(colors)
    luma = _even_rows(tables.y[y], rows)
    terms = (tables.v_red[v], tables.u_green[u] + tables.v_green[v], tables.u_blue[u])
    pixels = np.empty((*luma.shape, 3), np.uint8)
    for channel, term in enumerate(terms):
        wide = np.repeat(term, columns, axis=1)[:, :width] if columns > 1 else term
        # Pairs of rows share a row of colour samples, without a copy of it.
        total = luma.reshape(-1, rows, width) + wide[:, None]
        total >>= _BITS
        np.clip(total, 0, 255, out=total)
        pixels[..., channel] = total.reshape(-1, width)
    return pixels[:height]


_BITS = 5
"""Binary places of the tables. The largest sum, of luma 255 and U 255 in BT.2020, is 18 thousand;
with 6 places it would exceed int16."""


@dataclass(frozen=True, eq=False)
class _Tables:
    """What each value of a sample adds, int16 (256,) with _BITS binary places."""

    y: NDArray[np.int16]
    v_red: NDArray[np.int16]
    u_green: NDArray[np.int16]
    v_green: NDArray[np.int16]
    u_blue: NDArray[np.int16]


@functools.cache
def _tables(colors: YuvColors) -> _Tables:
    red, blue = LUMA_SHARES[colors.matrix]
    green = 1 - red - blue
    black, luma, chroma = (0, 1.0, 1.0) if colors.full_range else (16, 255 / 219, 255 / 224)
    value = np.arange(256, dtype=np.float64)
    color = (value - 128) * chroma
    return _Tables(
        y=_fixed((value - black) * luma + 0.5),  # the half rounds the sum
        v_red=_fixed(2 * (1 - red) * color),
        u_green=_fixed(-2 * (1 - blue) * blue / green * color),
        v_green=_fixed(-2 * (1 - red) * red / green * color),
        u_blue=_fixed(2 * (1 - blue) * color),
    )


def _fixed(values: NDArray[np.float64]) -> NDArray[np.int16]:
    fixed: NDArray[np.int16] = np.floor(values * 2**_BITS + 0.5).astype(np.int16)
    return fixed


def _even_rows(luma: NDArray[np.int16], rows: int) -> NDArray[np.int16]:
    if len(luma) % rows == 0:
        return luma
    return np.concatenate((luma, luma[-1:]))
