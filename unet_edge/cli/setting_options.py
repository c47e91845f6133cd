"""Options derived from the settings' dataclasses: types, choices and defaults."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import click

from unet_edge.cli.options import Names, Size, path_type

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class Leaf(NamedTuple):
    """One setting: its key in config.toml, its type without None, and its default."""

    key: str
    kind: Any
    default: Any

    @property
    def type_text(self) -> str:
        """The type in words: "a number", "one of adamw, adam, sgd"."""
        kinds = get_args(self.kind)
        if get_origin(self.kind) is Literal:
            return f"one of {', '.join(kinds)}"
        if get_origin(self.kind) is not tuple:
            return _TYPE_TEXTS[self.kind]
        plural = _TYPE_TEXTS[kinds[0]].removeprefix("a ") + "s"
        return f"a list of {plural if kinds[-1] is Ellipsis else f'{len(kinds)} {plural}'}"

    @property
    def is_text(self) -> bool:
        """Whether the value stands in quotes in TOML."""
        return self.kind in (str, Path) or get_origin(self.kind) is Literal


_TYPE_TEXTS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    Path: "a text",
}


def leaves(settings: type, prefix: str = "") -> Iterator[Leaf]:
    """Every setting of a dataclass and of the dataclasses in it, in their order."""
    hints = get_type_hints(settings)
    for field in dataclasses.fields(settings):
        kind = hints[field.name]
        if NoneType in get_args(kind):
            (kind,) = (each for each in get_args(kind) if each is not NoneType)
        if dataclasses.is_dataclass(kind):
            assert isinstance(kind, type)
            yield from leaves(kind, f"{prefix}{field.name}.")
        else:
            default = None if field.default is dataclasses.MISSING else field.default
            yield Leaf(f"{prefix}{field.name}", kind, default)


class Setting(NamedTuple):
    """The help of a setting's option, and what its dataclass does not say.

    `flag` is the option's name, by default the last part of the key. `default` replaces the
    setting's default in the help text; "" shows none. `type` is stricter than the dataclass's.
    """

    key: str
    help: str
    flag: str = ""
    default: str | None = None
    type: Any = None
    metavar: str | None = None

    @property
    def parameter(self) -> str:
        """The name of the command's parameter."""
        return self.key.replace(".", "__")

    def option(self, leaf: Leaf, *, fill: bool, from_run: bool) -> Decorator:
        """The click option. If it is not given, its value is None, or the default with `fill`.

        `from_run` is for commands that take the value from a training run first: the help text
        then says so.
        """
        flag = self.flag or "--" + self.key.rpartition(".")[2].replace("_", "-")
        shown = default_text(leaf, flag) if self.default is None else self.default
        if from_run:
            shown = f"the run's, else {shown}" if shown else "the run's"
        return click.option(
            flag,
            self.parameter,
            default=leaf.default if fill else None,
            help=f"{self.help}  [default: {shown}]" if shown else self.help,
            metavar=self.metavar,
            **_parsing(leaf.kind, self.type),
        )


def default_text(leaf: Leaf, flag: str) -> str:
    """The default as it is typed on the command line; "" for None."""
    match leaf.default:
        case None:
            return ""
        case bool(value):
            on, _, off = flag.partition("/")
            return (on if value else off).removeprefix("--")
        case float(value):
            return f"{value:g}"
        case (int(height), int(width)):
            return f"{height}" if height == width else f"{height}x{width}"
        case tuple(values):
            separator = " " if all(isinstance(value, float) for value in values) else ","
            return separator.join(map(str, values))
        case value:
            return str(value)


def _parsing(kind: Any, stricter: Any) -> dict[str, Any]:
    """The arguments of click.option that parse a setting of this type."""
    if stricter is not None:
        return {"type": stricter}
    if get_origin(kind) is Literal:
        return {"type": click.Choice(get_args(kind))}
    if get_origin(kind) is not tuple:
        return {} if kind is bool else {"type": path_type() if kind is Path else kind}
    match get_args(kind):
        case (first, second) if first is second is int:
            return {"type": Size()}
        case (first, second) if first is second:
            return {"type": first, "nargs": 2}
        case _:
            return {"type": Names()}
