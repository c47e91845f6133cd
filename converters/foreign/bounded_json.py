"""JSON of a foreign file, read in bounded memory and depth."""

from __future__ import annotations

import json
from typing import Any

from converters.foreign.refusal import Refusal

# The configuration of keras.applications' largest network has 1.5 MB.
MOST_BYTES = 32 * 2**20
_MOST_DEPTH = 100


def parse_json(text: str | bytes, what: str) -> dict[str, Any]:
    """Parse an object. Raises Refusal when it is too large, too deep or malformed."""
    if len(text) > MOST_BYTES:
        raise Refusal(f"is not read: {what} has {len(text):,} bytes")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refusal(f"is damaged: {what} is not JSON ({str(error) or 'too deep'})") from error
    if not isinstance(data, dict):
        raise Refusal(f"is damaged: {what} is not a JSON object")
    if _deeper_than(data, _MOST_DEPTH):
        raise Refusal(f"is not read: {what} nests more than {_MOST_DEPTH} levels")
    return data


def _deeper_than(data: Any, most: int) -> bool:
    level = [data]
    for _ in range(most):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True
