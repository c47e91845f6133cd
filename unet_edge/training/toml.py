"""Dataclasses to TOML and back, and what is wrong with a setting in words.

cattrs walks the dataclasses; what it would take for good and a person did not mean ("3" for a
number, a text for a list of letters) is refused here.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import cattrs
import cattrs.gen
import tomli_w

from unet_edge.errors import ConfigError

T = TypeVar("T")


def dump_toml(settings: Any) -> str:
    """A dataclass as TOML text; what is None is left out."""
    return tomli_w.dumps(_without_none(_CONVERTER.unstructure(settings)))


def load_toml(text: str, source: str) -> dict[str, Any]:
    """TOML as plain values. Raises ConfigError that names `source`."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # no TOML, thousands of digits or of brackets
        raise ConfigError(f"{source} is not TOML: {error}") from error


def structure(data: dict[str, Any], kind: type[T], source: str) -> T:
    """Plain values, nested as in TOML, as the dataclass `kind`.

    Raises ConfigError that names `source` and each setting that does not fit.
    """
    try:
        return _CONVERTER.structure(data, kind)
    except cattrs.BaseValidationError as error:
        raise ConfigError(f"{source}: {_reasons(error)}") from error


def fits(value: Any, kind: Any) -> bool:
    """Whether a plain value can be a setting of this type."""
    try:
        _CONVERTER.structure(value, kind)
    except (ValueError, OverflowError, cattrs.BaseValidationError):
        return False
    return True


def laid_over(data: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`data` with `changes` on top, table by table."""
    merged = dict(data)
    for key, value in changes.items():
        below = merged.get(key)
        if isinstance(value, dict):
            value = laid_over(below if isinstance(below, dict) else {}, value)
        merged[key] = value
    return merged


def flattened(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Each setting by its place, as in network.alpha."""
    found: dict[str, Any] = {}
    for key, value in data.items():
        nested = isinstance(value, dict)
        found |= flattened(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return found


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
        # To Python, True is a whole number.
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


def _reasons(error: BaseException) -> str:
    """What cattrs found, a clause for each setting."""
    clauses = []
    for line in cattrs.transform_error(error, path="", format_exception=_reason):
        reason, _, place = line.rpartition(" @ ")
        clauses.append(f"{place[1:]}: {reason}" if place else reason)
    return "; ".join(clauses)


def _reason(error: BaseException, kind: type | None) -> str:
    match error:
        case cattrs.ForbiddenExtraKeysError():
            known = [field.name for field in dataclasses.fields(error.cl)]
            return "; ".join(_unknown(name, known) for name in sorted(error.extra_fields))
        case KeyError():
            return "this setting is missing"
        case _:
            return str(error)


def _unknown(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"unknown setting {name}" + (f", is it {close[0]}?" if close else "")
