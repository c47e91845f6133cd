"""The curves of a training run: losses and validation mIoU over steps."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from unet_edge.system.files import write_atomically


def draw_curves(
    path: Path,
    *,
    steps: Sequence[int],
    losses: Mapping[str, Sequence[float]],
    miou: Sequence[float],
) -> None:
    """Write a PNG with the losses beside the validation mIoU (0..1)."""
    # The object interface: unlike pyplot, it has no global state and needs no display.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, values in losses.items():
        left.plot(steps, values, marker="o", markersize=3, label=name)
    left.set(xlabel="step", ylabel="loss", title="Loss")
    left.set_ylim(bottom=0)
    left.legend()
    best = max(range(len(miou)), key=lambda index: miou[index])
    right.plot(steps, miou, marker="o", markersize=3, color="tab:green")
    right.plot(steps[best], miou[best], marker="*", markersize=13, color="tab:red")
    right.set(
        xlabel="step",
        ylabel="validation mIoU",
        title=f"Best {miou[best]:.4f} at step {steps[best]}",
    )
    for axes in (left, right):
        axes.grid(alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_atomically(path, buffer.getvalue())
