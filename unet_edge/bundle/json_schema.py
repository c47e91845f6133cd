"""Validation by the part of JSON Schema (draft 2020-12) that our published schemas use.

The jsonschema library would be the device's sixth dependency, and brings a compiled one.
https://json-schema.org/draft/2020-12/json-schema-validation
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}

KEYWORDS = frozenset(
    {
        *("$schema", "$id", "$defs", "$ref", "title", "description", "type", "const", "enum"),
        *("required", "properties", "additionalProperties", "items", "minItems", "maxItems"),
        *("minimum", "maximum", "exclusiveMinimum", "minLength", "pattern"),
        *("allOf", "if", "then", "else"),
    }
)
"""Keywords that a schema may use. Others would be ignored, so a test refuses them."""


def first_error(data: Any, schema: dict[str, Any]) -> str | None:
    """The first error in `data`, such as "files[0].bytes is -1; at least 1 was expected", or None.

    `schema` may use only KEYWORDS, and `$ref` only to its own `$defs`.
    """
    return next(_errors(data, schema, schema, ""), None)


def _errors(data: Any, schema: Any, root: dict[str, Any], where: str) -> Iterator[str]:
    if isinstance(schema, bool):
        if not schema:
            yield f"{where or 'it'} does not belong there"
        return
    if name := schema.get("$ref"):
        yield from _errors(data, root["$defs"][name.removeprefix("#/$defs/")], root, where)
    if expected := _mismatch(data, schema):
        shown = repr(data) if not isinstance(data, dict | list) else f"a {_kind(data)}"
        yield f"{where or 'it'} is {shown[:80]}; {expected} was expected"
        return
    if isinstance(data, dict):
        yield from _object_errors(data, schema, root, where)
    if isinstance(data, list) and "items" in schema:
        for index, item in enumerate(data):
            yield from _errors(item, schema["items"], root, f"{where}[{index}]")
    for part in schema.get("allOf", ()):
        yield from _errors(data, part, root, where)
    if "if" in schema:
        holds = next(_errors(data, schema["if"], root, where), None) is None
        yield from _errors(data, schema.get("then" if holds else "else", True), root, where)


def _object_errors(
    data: dict[str, Any], schema: dict[str, Any], root: dict[str, Any], where: str
) -> Iterator[str]:
    for name in schema.get("required", ()):
        if name not in data:
            yield f"{where or 'it'} lacks {name}"
    known = schema.get("properties", {})
    other = schema.get("additionalProperties", True)
    for name, value in data.items():
        place = f"{where}.{name}" if where else name
        yield from _errors(value, known.get(name, other), root, place)


def _mismatch(data: Any, schema: dict[str, Any]) -> str | None:
    """What `data` should have been, apart from its members; None if it is right."""
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if types and not any(_is(data, name) for name in types):
        return " or ".join(types)
    choices = [schema["const"]] if "const" in schema else schema.get("enum")
    if choices is not None and not any(_same(data, choice) for choice in choices):
        return " or ".join(repr(choice) for choice in choices)
    if _is(data, "number"):
        if data < schema.get("minimum", data):
            return f"at least {schema['minimum']}"
        if data > schema.get("maximum", data):
            return f"at most {schema['maximum']}"
        if "exclusiveMinimum" in schema and data <= schema["exclusiveMinimum"]:
            return f"more than {schema['exclusiveMinimum']}"
    if isinstance(data, str):
        if len(data) < schema.get("minLength", 0):
            return f"at least {schema['minLength']} characters"
        # fullmatch, since Python's $ also matches before a final line break.
        if "pattern" in schema and not re.fullmatch(schema["pattern"], data):
            return str(schema.get("description", schema["pattern"])).rstrip(".")
    if isinstance(data, list):
        least, most = schema.get("minItems", 0), schema.get("maxItems", len(data))
        if not least <= len(data) <= most:
            return f"one of {least} to {most} items" if "maxItems" in schema else f"{least} items"
    return None


def _is(data: Any, name: str) -> bool:
    """Whether `data` has a JSON type. Python's True is an int, but JSON's true is not a number."""
    if name == "integer":
        return _is(data, "number") and data == data // 1
    return isinstance(data, _TYPES[name]) and (name == "boolean" or not isinstance(data, bool))


def _same(data: Any, choice: Any) -> bool:
    return data == choice and isinstance(data, bool) == isinstance(choice, bool)


def _kind(data: Any) -> str:
    return "object" if isinstance(data, dict) else f"array of {len(data)}"
