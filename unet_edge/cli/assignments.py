"""`--set KEY=VALUE`: a setting by its key in config.toml, with a value in TOML."""

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
    help="Set any key of config.toml, e.g. optimisation.learning_rate=0.0005. VALUE is TOML. "
    "Repeatable.",
)


def parse_assignments(assignments: Sequence[str], settings: Mapping[str, Leaf]) -> dict[str, Any]:
    """Parse KEY=VALUE into values by key; the last value of a key counts.

    Raises ConfigError that names the key and its type.
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = (part.strip() for part in assignment.partition("="))
        if not equals:
            raise ConfigError(
                f"--set {assignment} has no value", fix="write KEY=VALUE, e.g. steps=1500"
            )
        if key not in settings:
            raise _unknown(key, settings)
        values[key] = _value(settings[key], text)
    return values


def _value(leaf: Leaf, text: str) -> Any:
    """Parse the TOML value of a setting. Raises ConfigError if its type is wrong."""
    from unet_edge.training.toml import fits  # cattrs is in the train extra

    try:
        values = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):  # not TOML, or thousands of digits or brackets
        values = {}
    if list(values) != ["value"]:
        raise ConfigError(
            f"--set {leaf.key}: {text or 'nothing'} is not a TOML value",
            expected=f"{leaf.key} is {leaf.type_text}",
            fix=f"write --set '{leaf.key}=\"{text}\"'" if leaf.is_text else "",
        )
    if not fits(values["value"], leaf.kind):
        raise ConfigError(f"--set {leaf.key}: {text} is not {leaf.type_text}")
    return values["value"]


def _unknown(key: str, settings: Mapping[str, Leaf]) -> ConfigError:
    inside = [each for each in settings if each.startswith(f"{key}.")]
    if inside:
        return ConfigError(f"--set {key}: {key} is a table", fix=f"set one of {', '.join(inside)}")
    # The likeliest mistake is a key without its table.
    close = [each for each in settings if each.rpartition(".")[2] == key]
    close += difflib.get_close_matches(key, settings, n=1)
    return ConfigError(f"--set {key}: unknown setting", fix=f"is it {close[0]}?" if close else "")
