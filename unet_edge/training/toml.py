"""Dataclasses to TOML and back, with errors that name the invalid setting.

cattrs converts the dataclasses. The hooks here are stricter than its own: they refuse "3" as a
number, and a text as a list of letters.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import cattrs
import cattrs.gen
import tomli_w

from unet_edge.errors import ConfigError

T = TypeVar("T")


def dump_toml(settings: Any) -> str:
    """Write a dataclass as TOML text, without fields that are None."""
    return tomli_w.dumps(_without_none(_CONVERTER.unstructure(settings)))


def load_toml(text: str, source: str) -> dict[str, Any]:
    """Read TOML as plain values. Raises ConfigError that names `source`."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # thousands of digits or brackets raise too
        raise ConfigError(f"is not TOML: {error}", subject=source) from error


def structure(data: dict[str, Any], kind: type[T], source: str) -> T:
    """Make a dataclass of type `kind` from plain values, nested as in TOML.

    Raises ConfigError that names `source` and each invalid setting.
    """
    try:
        return _CONVERTER.structure(data, kind)
    except cattrs.BaseValidationError as error:
        raise ConfigError("; ".join(_reasons(error)), subject=f"{source}:") from error


def fits(value: Any, kind: Any) -> bool:
    """Whether a plain value is valid for a setting of type `kind`."""
    try:
        _CONVERTER.structure(value, kind)
    except (ValueError, OverflowError, cattrs.BaseValidationError):
        return False
    return True


def merged(data: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return `data` with the values of `changes`, table by table."""
    result = dict(data)
    for key, value in changes.items():
        old = result.get(key)
        if isinstance(value, dict):
            value = merged(old if isinstance(old, dict) else {}, value)
        result[key] = value
    return result


def flattened(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return each setting by its path, such as network.alpha."""
    settings: dict[str, Any] = {}
    for key, value in data.items():
        nested = isinstance(value, dict)
        settings |= flattened(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return settings


def _without_none(data: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in data.items()
        if value is not None
    }


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    converter.register_unstructure_hook(Path, str)
    for kind, accepted, words in (
        (int, int, "a whole number"),
        (float, (int, float), "a number"),
        (bool, bool, "true or false"),
        (str, str, "a text"),
        (Path, str, "a text"),
    ):
        converter.register_structure_hook(kind, _scalar(kind, accepted, words))
    converter.register_structure_hook_func(lambda kind: _origin(kind) is Literal, _choice)
    converter.register_structure_hook_func(
        lambda kind: _origin(kind) is tuple, lambda value, kind: _tuple(converter, value, kind)
    )
    converter.register_structure_hook_factory(
        dataclasses.is_dataclass, lambda kind: _table(converter, kind)
    )
    return converter


def _origin(kind: Any) -> Any:
    return get_origin(kind)


def _scalar(kind: Any, accepted: Any, words: str) -> Callable[[Any, Any], Any]:
    def convert(value: Any, _: Any) -> Any:
        # In Python, True is an int.
        if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
            raise ValueError(f"{value!r} is not {words}")
        return kind(value)

    return convert


def _choice(value: Any, kind: Any) -> Any:
    if value not in get_args(kind):
        raise ValueError(f"{value!r} is not one of {', '.join(get_args(kind))}")
    return value


def _tuple(converter: cattrs.Converter, value: Any, kind: Any) -> tuple[Any, ...]:
    kinds = get_args(kind)
    if not isinstance(value, list | tuple):
        raise ValueError(f"{value!r} is not a list")
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(value) != len(kinds):
        raise ValueError(f"{value!r} is not a list of {len(kinds)} values")
    return tuple(converter.structure(v, k) for v, k in zip(value, kinds, strict=True))


def _table(converter: cattrs.Converter, kind: Any) -> Callable[[Any, Any], Any]:
    fill = cattrs.gen.make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True)

    def convert(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError(f"{value!r} is not a table of settings")
        return fill(value, kind)

    return convert


_CONVERTER = _converter()


def _reasons(error: BaseException, path: str = "") -> Iterator[str]:
    """Yield what is wrong with each setting, named by its path."""
    match error:
        case cattrs.ClassValidationError():
            of_settings, of_table = error.group_exceptions()
            for each, note in of_settings:
                yield from _reasons(each, f"{path}.{note.name}" if path else note.name)
            for other in of_table:
                yield from _reasons(other, path)
        case _:
            reason = _reason(error)
            yield f"{path}: {reason}" if path else reason


def _reason(error: BaseException) -> str:
    match error:
        case cattrs.ForbiddenExtraKeysError():
            names = [field.name for field in dataclasses.fields(error.cl)]
            return "; ".join(_unknown_setting(name, names) for name in sorted(error.extra_fields))
        case KeyError():
            return "this setting is missing"
        case _:
            return str(error)


def _unknown_setting(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f"unknown setting {name}" + (f", is it {close[0]}?" if close else "")
