"""What `unet-edge import` prints: what was found, the guess, what was assumed and rewritten."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from converters.foreign.input_scaling import InputScaling
from unet_edge.cli.output import print_line, print_spec, print_texts
from unet_edge.system.counting import counted
from unet_edge.system.printable import printable

if TYPE_CHECKING:
    from converters.foreign.guessing import Guess
    from converters.foreign.import_model import ImportedModel, OpenedModel


def print_found(opened: OpenedModel) -> None:
    """Print what a model file holds."""
    print_line(f"found, in {Path(opened.foreign.source).name} ({opened.foreign.kind}):")
    for line in opened.found.lines():
        print_line(f"  {line}")


def print_guess(guess: Guess) -> None:
    """Print the mIoU of every candidate, and how clearly the best leads."""
    rows = [
        (each.range, each.color_order, f"{each.miou:.4f}", "best" if each == guess.best else "")
        for each in guess.candidates
    ]
    print_texts(rows, ["input range", "color order", "mIoU", ""])
    print_line(
        f"over {counted(guess.pictures, 'picture')}; the best leads by {100 * guess.lead:.2f} "
        f"points, and in {guess.confidence:.1%} of redrawn sets of pictures"
    )


def print_imported(imported: ImportedModel) -> None:
    """Print what was assumed, each rewrite with its difference, and the contract."""
    record = imported.record
    print_line(f"assumed: {', '.join(record.assumed) or 'nothing'}")
    print_texts(
        [(f"{each.largest_difference:.2g}", each.what) for each in record.rewrites],
        ["largest difference", "rewrite"],  # sentences last: a terminal wraps them
    )
    scaling = InputScaling(record.input.mean, record.input.std, record.input.color_order)
    print_line(printable(f"the model takes {scaling}"))
    print_spec(imported.spec)
