"""Transposed convolutions as a convolution at the input's size and a DepthToSpace.

Shi et al. 2016, arXiv:1609.05158. Each block of the convolution's channels computes the output
pixels of one phase, so no multiplication is by a zero or done twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import layers
from numpy.typing import NDArray

from converters.device_graph.graph import Node
from converters.device_graph.layers import DepthToSpace


@dataclass(frozen=True)
class Axis:
    """A transposed convolution along one axis: output o sums x[i] * kernel[o + crop - step * i].

    `kernel`, `step`: the sizes of kernel and stride. `crop`: positions cut off in front. The
    output has step * input + `extra` pixels.
    """

    kernel: int
    step: int
    crop: int
    extra: int = 0

    @property
    def taps(self) -> int:
        """The most input pixels that an output pixel reads."""
        return -(-self.kernel // self.step)

    @property
    def _skipped(self) -> int:
        return self.crop // self.step

    @property
    def padding(self) -> tuple[int, int]:
        """Zeros before and after the input."""
        after = (self.crop + self.extra - 1) // self.step + 1
        return self.taps - 1 - self._skipped, after

    @property
    def cropping(self) -> tuple[int, int]:
        """Pixels to cut off from the enlarged result, at its start and at its end."""
        before = self.crop - self.step * self._skipped
        blocks = sum(self.padding) - self.taps + 1  # more than the input has
        return before, self.step * blocks - before - self.extra

    def tap(self, position: int, phase: int) -> int:
        """Which entry of the transposed kernel the convolution has at `position` for a phase."""
        return self.step * (self.taps - 1 - position) + phase


def sub_pixel(
    source: Node,
    kernel: NDArray[Any],
    bias: NDArray[Any] | None,
    axes: tuple[Axis, Axis],
    name: str,
    activation: Node | None = None,
) -> Node | None:
    """The nodes of a transposed convolution; None if they would be no faster or need cropping in.

    `kernel`: (height, width, channels in, channels out). Both axes have the same step.
    `activation`: a node without weights whose layer goes between convolution and DepthToSpace,
    where a converter fuses it.
    """
    if any(side < 0 for axis in axes for side in (*axis.padding, *axis.cropping)):
        return None
    rows, columns = axes
    step, (*_, into, out) = rows.step, kernel.shape
    phases = np.zeros((rows.taps, columns.taps, into, step, step, out), np.float32)
    for y, x, row, column in np.ndindex(rows.taps, columns.taps, step, step):
        tap = rows.tap(y, row), columns.tap(x, column)
        if tap[0] < rows.kernel and tap[1] < columns.kernel:
            phases[y, x, :, row, column] = kernel[tap]
    node = source
    padding = tuple(axis.padding for axis in axes)
    if any(map(any, padding)):
        node = Node(layers.ZeroPadding2D(padding, name=f"{name}_pad"), [node])
    conv = layers.Conv2D(
        step**2 * out, phases.shape[:2], use_bias=bias is not None, name=f"{name}_phases"
    )
    weights = [phases.reshape(*phases.shape[:3], -1)]
    if bias is not None:
        weights.append(np.tile(bias, step**2))
    node = Node(conv, [node], weights, channels=step**2 * out)
    if activation is not None:
        node = Node(activation.layer, [node], activation.weights)
    node = Node(DepthToSpace(step, name=f"{name}_space"), [node], channels=out)
    cropping = tuple(axis.cropping for axis in axes)
    if any(map(any, cropping)):
        node = Node(layers.Cropping2D(cropping, name=f"{name}_crop"), [node])
    return node
