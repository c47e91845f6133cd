"""Option types and options that several commands take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from unet_edge.errors import ConfigError
from unet_edge.runtime.packages import Package
from unet_edge.spec import IGNORE
from unet_edge.system.printable import printable

_F = TypeVar("_F", bound=Callable[..., Any])


class Size(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """`256` or `256x320`: (height, width) in px."""

    name = "HxW"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, int]:
        """Parse a size; anything else is a usage error."""
        if isinstance(value, tuple):
            return value
        parts = str(value).lower().split("x")
        if not all(part.isdecimal() for part in parts) or len(parts) > 2:
            self.fail(f"{value!r} is not a size; write 256, or 256x320 for height x width")
        return int(parts[0]), int(parts[-1])


class Names(click.ParamType):  # type: ignore[type-arg]  # as above
    """Comma-separated names."""

    name = "A,B,…"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, ...]:
        """Parse names, and strip the spaces around them."""
        if isinstance(value, tuple):
            return value
        return tuple(name.strip() for name in str(value).split(",") if name.strip())


class Numbers(click.ParamType):  # type: ignore[type-arg]  # as above
    """Comma-separated whole numbers from 1, such as 1,2,4."""

    name = "N,…"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        """Parse numbers; anything else is a usage error."""
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in str(value).split(",")]
        if not all(part.isdecimal() and int(part) for part in parts):
            self.fail(f"{value!r} is not a number from 1, or several with commas such as 1,2,4")
        return tuple(map(int, parts))


class Packages(click.ParamType):  # type: ignore[type-arg]  # as above
    """Comma-separated names of interpreters' packages."""

    name = "NAME,…"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[Package, ...]:
        """Parse names; an unknown one is a usage error."""
        if isinstance(value, tuple):
            return value
        names = [part.strip() for part in str(value).split(",")]
        for name in names:
            if name not in get_args(Package):
                self.fail(f"{name!r} is not one of {', '.join(get_args(Package))}")
        return tuple(names)  # type: ignore[arg-type]  # they are Packages now


class ClassNames(Names):
    """Comma-separated names of classes, more than one."""

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, ...]:
        """Parse names. Raises ConfigError for a single one, as names without commas give."""
        names = super().convert(value, param, ctx)
        if len(names) == 1:
            raise ConfigError(
                f"1 class given: {printable(names[0])}",
                expected=f"there must be 2 to {IGNORE}",
                fix="separate names with commas, background first: --classes background,cat",
            )
        return names


def path_type() -> click.Path:
    """The type of a path. What opens the path checks it: its error says more than click's."""
    return click.Path(path_type=Path)


def threads_option(default: str = "all processors, at most four") -> Callable[[_F], _F]:
    """The option --threads; `default` says in its help what the command uses without it."""
    return click.option(
        "--threads", type=click.IntRange(1), help=f"Number of threads.  [default: {default}]"
    )


timed_images_option = click.option(
    "--images", type=path_type(), help="Photos to time.  [default: the golden pictures]"
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, not a table.")
backend_option = click.option(
    "--backend",
    type=click.Choice(get_args(Package)),
    help="Interpreter to use, instead of the first that works.",
)
file_option = click.option(
    "--file", metavar="NAME", help="File of the bundle to use, e.g. model-int8.tflite."
)
