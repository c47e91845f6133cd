"""Option types and options that several commands take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click

from unet_edge.runtime.packages import Package


class Size(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """`256` or `256x320`: (height, width) in px."""

    name = "HxW"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, int]:
        """Parse; a wrong form is a usage error."""
        if isinstance(value, tuple):
            return value
        parts = str(value).lower().split("x")
        if not all(part.isdigit() for part in parts) or len(parts) > 2:
            self.fail(f"{value!r} is not a size; write 256, or 256x320 for height x width")
        return int(parts[0]), int(parts[-1])


class Names(click.ParamType):  # type: ignore[type-arg]  # as above
    """Comma-separated names."""

    name = "A,B,…"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, ...]:
        """Parse; spaces around names are dropped."""
        if isinstance(value, tuple):
            return value
        return tuple(name.strip() for name in str(value).split(",") if name.strip())


def path_type() -> click.Path:
    """A path, checked by what opens it, whose error says more than click's."""
    return click.Path(path_type=Path)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, not a table.")
threads_option = click.option(
    "--threads",
    type=click.IntRange(1),
    help="Threads to run on, at most this machine's processors (or four).  "
    "[default: as tuned, else all, at most four]",
)
backend_option = click.option(
    "--backend",
    type=click.Choice(get_args(Package)),
    help="Interpreter to run on, instead of the first that works.",
)
file_option = click.option(
    "--file", metavar="NAME", help="Which file of a bundle, e.g. model-int8.tflite."
)

classes_option = click.option(
    "--classes",
    type=Names(),
    default="background,object",
    show_default=True,
    help="Class names, class 0 (the background) first.",
)

bit_depth_option = click.option(
    "--bit-depth",
    type=click.IntRange(8, 16),
    help="As for train: bits that pictures of 16 or 32 bits or of floats use.",
)

# As unet_edge.dataset.settings has them, which `segment` does not import.
CROWDS = ("auto", "ignore", "take")
SPLIT_BY = ("groups", "pictures")

_LISTS = (
    ("--train-list", "train_list", "File that names the training pictures, one a line."),
    ("--val-list", "validation_list", "File that names the validation pictures."),
    ("--test-list", "test_list", "File that names the test pictures, which are never trained on."),
)


def reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say how a data set's masks are found and read."""
    options = (
        click.option(
            "--masks",
            default="auto",
            show_default=True,
            help="How masks are read: index, 'binary>127' (white is class 1), 'binary<=127' "
            "(black is class 1), 'colors:#000000,#ff0000' (in class order), polygons, or auto.",
        ),
        click.option(
            "--ignore",
            type=click.IntRange(0, 255),
            help="Mask value to leave out.  [default: 255 in index masks]",
        ),
        click.option(
            "--mask-names",
            metavar="PATTERN",
            help="How masks are named after pictures: NAME_mask, or NAME_photo=NAME_mask.  "
            "[default: NAME]",
        ),
        click.option(
            "--crowds",
            type=click.Choice(CROWDS),
            help="COCO regions with iscrowd, which CVAT's brush writes: ignore, or take as "
            "objects; auto takes them if there are no others.  [default: auto]",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def data_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say how a data set is split and its masks are read."""
    for flag, name, text in reversed(_LISTS):
        command = click.option(flag, name, type=path_type(), help=text)(command)
    return reading_options(command)
