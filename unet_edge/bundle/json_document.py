"""JSON files of ours that hold to a published schema, read from disk."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from unet_edge.bundle.json_schema import first_error
from unet_edge.bundle.manifest import parse_json
from unet_edge.errors import UnetEdgeError
from unet_edge.system.files import read_regular


def published_schema(room: str, name: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) in the file `name` of a package."""
    schema: dict[str, Any] = json.loads(resources.files(room).joinpath(name).read_bytes())
    return schema


def read_document(
    path: Path,
    schema: dict[str, Any],
    *,
    version: int,
    most: int,
    again: str,
    error: type[UnetEdgeError],
) -> dict[str, Any]:
    """Read a file of at most `most` bytes that holds to `schema`.

    Raises `error` for any other file, with the fix `again`, or to upgrade where the file's schema
    is newer than `version`.
    """
    try:
        data = parse_json(read_regular(path, most))
    except OSError as problem:
        raise error(f"cannot read {path}: {problem.strerror or problem}") from problem
    except (ValueError, RecursionError) as problem:
        raise error(f"{path} is not JSON: {problem}", fix=again) from problem
    found = data.get("schema") if isinstance(data, dict) else None
    if type(found) is int and found > version:  # bool is an int
        raise error(
            f"{path} has schema {found}",
            expected=f"this version reads up to {version}",
            fix="run: pip install --upgrade unet-edge",
        )
    if wrong := first_error(data, schema):
        raise error(f"{path} is malformed: {wrong}", fix=again)
    checked: dict[str, Any] = data
    return checked
