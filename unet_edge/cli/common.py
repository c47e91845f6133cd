"""What the commands share: error handling, options, tables, opening models and data."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from tabulate import tabulate

from unet_edge.bundle import Bundle
from unet_edge.errors import BackendError, UnetEdgeError
from unet_edge.files import json_text
from unet_edge.quiet import quiet
from unet_edge.spec import ModelSpec

if TYPE_CHECKING:
    from unet_edge.runtime.segmenter import Segmenter


class Failure(click.ClickException):
    """A command that ran and has a bad result to report; exit status 1."""

    def show(self, file: Any = None) -> None:
        """Print the message as it is, without click's "Error:"."""
        click.echo(self.message, err=True)


class Interrupted(click.ClickException):
    """Ctrl-C, with the customary exit status."""

    exit_code = 130

    def __init__(self) -> None:
        super().__init__("interrupted; what was finished is kept")

    def show(self, file: Any = None) -> None:
        """Print the message on a line of its own, below the ^C."""
        click.echo(f"\n{self.message}", err=True)


class Group(click.Group):
    """Turns our errors into one line and Ctrl-C into the customary exit status."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a traceback is for our mistakes, never for the user's."""
        try:
            return super().invoke(ctx)
        except UnetEdgeError as error:
            raise Failure(f"error: {error}") from error
        except BrokenPipeError:
            raise  # as in `| head`: click ends quietly
        except OSError as error:
            place = f" {error.filename}" if error.filename else ""
            raise Failure(f"error: cannot use{place}: {error.strerror or error}") from error
        except KeyboardInterrupt:
            raise Interrupted from None


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
    "--threads", type=click.IntRange(1), help="Threads to run on.  [default: all, at most four]"
)
file_option = click.option(
    "--file", metavar="NAME", help="Which file of a bundle, e.g. model-int8.tflite."
)


def say(line: str) -> None:
    """Print something worth knowing on standard error, so that --json stays JSON."""
    click.echo(line, err=True)


def print_json(data: Any) -> None:
    """Print JSON on standard output."""
    click.echo(json_text(data), nl=False)


def print_table(
    rows: Iterable[Sequence[Any]], headers: Sequence[str] = (), floats: str = ".4f"
) -> None:
    """Print rows in columns; `floats` formats the numbers with a fraction."""
    click.echo(tabulate(list(rows), headers, floatfmt=floats, tablefmt="simple", missingval="-"))


def print_spec(spec: ModelSpec) -> None:
    """Print a contract as a table."""
    print_table(
        [
            ("name", spec.name),
            ("input", f"{spec.height}x{spec.width} px (height x width), {spec.color_order} uint8"),
            ("fit", f"{spec.fit}, {spec.resample}, padding {spec.pad_color}"),
            ("orientation", spec.orientation),
            ("normalisation", f"(pixel - {spec.normalisation.mean}) / {spec.normalisation.std}"),
            ("output", spec.output),
            *(
                (f"class {index}", f"{name}  #{bytes(color).hex()}")
                for index, (name, color) in enumerate(zip(spec.classes, spec.palette, strict=True))
            ),
        ],
    )


def print_bundle(bundle: Bundle, as_json: bool) -> None:
    """Print a bundle's contract and its files with what was measured at export."""
    if as_json:
        print_json({"path": str(bundle.path), **bundle.to_dict()})
        return
    print_spec(bundle.spec)
    click.echo()
    rows = [
        (
            entry.name,
            f"{entry.bytes / 1e6:.2f}",
            f"{entry.agreement:.4%}",
            f"{entry.floor:.3%}",
            f"{entry.mask_miou:.4f}",
            "-" if entry.label_miou is None else f"{entry.label_miou:.4f}",
            "ok" if entry.kept_floor else "UNDER FLOOR",
            entry.sha256[:12],
        )
        for entry in bundle.files
    ]
    headers = ["file", "MB", "pixels as Keras", "floor", "mask mIoU", "label mIoU", "", "SHA-256"]
    # As text throughout: tabulate would drop the digits that matter.
    click.echo(tabulate(rows, headers, tablefmt="simple", disable_numparse=True))
    reference = bundle.reference
    keras_miou = "-" if reference.label_miou is None else f"{reference.label_miou:.4f}"
    click.echo(
        f"Keras itself: label mIoU {keras_miou}; measured on {reference.pictures} pictures; "
        f"{len(bundle.golden)} golden pictures in {bundle.path}"
    )


def need(extra: str, modules: Sequence[str]) -> None:
    """Import the modules of an extra; raises BackendError with the mending command.

    Imported, not looked for: Keras without the library it runs on is there and does not work.
    """
    for module in modules:
        try:
            with quiet():
                importlib.import_module(module)
        except ImportError as error:
            mend = f"pip install 'unet-edge[{extra}]' (in a checkout: pip install '.[{extra}]')"
            if (chosen := os.environ.get("KERAS_BACKEND")) and chosen != "tensorflow":
                mend = f"install {chosen}, which KERAS_BACKEND names, or unset KERAS_BACKEND"
            raise BackendError(
                f"this needs {module}, which cannot be imported ({error}); mend with: {mend}"
            ) from error


def open_model(path: Path, file: str | None = None, threads: int | None = None) -> Segmenter:
    """Open a bundle, file or run for a command."""
    from unet_edge.runtime.segmenter import Segmenter

    with quiet():  # interpreters announce their delegates on standard error
        return Segmenter.open(path, file=file, threads=threads)


def data_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say how a data set is split and its masks are read."""
    options = (
        click.option(
            "--masks",
            default="auto",
            show_default=True,
            help="How masks are read: index, 'binary>127' (white is class 1), 'binary<=127' "
            "(black is class 1), or auto.",
        ),
        click.option(
            "--ignore",
            type=click.IntRange(0, 255),
            help="Mask value to leave out.  [default: 255 in index masks]",
        ),
        click.option(
            "--train-list", type=path_type(), help="File that names the training pictures."
        ),
        click.option(
            "--val-list",
            "validation_list",
            type=path_type(),
            help="File that names the validation pictures.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command
