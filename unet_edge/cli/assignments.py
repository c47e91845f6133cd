"""`--set KEY=VALUE`: a setting by its key in config.toml, with a value in TOML's syntax."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

import click

from unet_edge.cli.setting_options import Leaf
from unet_edge.errors import ConfigError

set_option = click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any setting by its key in config.toml, e.g. optimisation.learning_rate=0.0005. "
    "VALUE is TOML; repeatable.",
)


def assigned(assignments: Sequence[str], known: Mapping[str, Leaf]) -> dict[str, Any]:
    """The values by their keys; the last of a key counts.

    Raises ConfigError that names the key and its type.
    """
    found: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = (part.strip() for part in assignment.partition("="))
        if not equals:
            raise ConfigError(f"--set {assignment}: write KEY=VALUE, e.g. steps=1500")
        if key not in known:
            raise ConfigError(_unknown(key, known))
        found[key] = _value(known[key], text)
    return found


def _value(leaf: Leaf, text: str) -> Any:
    """The value of a setting, as TOML spells it. Raises ConfigError."""
    from unet_edge.training.toml import fits  # cattrs is in the train extra

    try:
        values = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):  # no TOML, thousands of digits or of brackets
        values = {}
    if list(values) != ["value"]:
        quoted = f"; write --set '{leaf.key}=\"{text}\"'" if leaf.is_text else ""
        raise ConfigError(
            f"--set {leaf.key}: {text or 'nothing'} is not a TOML value",
            fix=f"{leaf.key} is {leaf.words}{quoted}",
        )
    if not fits(values["value"], leaf.kind):
        raise ConfigError(f"--set {leaf.key}: {text} is not {leaf.words}")
    return values["value"]


def _unknown(key: str, known: Mapping[str, Leaf]) -> str:
    inside = [each for each in known if each.startswith(f"{key}.")]
    if inside:
        return f"--set {key}: this is a table; set one of {', '.join(inside)}"
    # A key without its table is the likeliest mistake.
    close = [each for each in known if each.rpartition(".")[2] == key]
    close += difflib.get_close_matches(key, known, n=1)
    return f"--set {key}: unknown setting" + (f"; is it {close[0]}?" if close else "")
