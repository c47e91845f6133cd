"""References between the layers of a file: which call of which layer, in three generations.

Keras 2 writes a node as a list of [layer, call, tensor, arguments], Keras 3 as arguments that
hold `__keras_tensor__`. A nested model's calls are counted from 1 where Keras counts the model's
own graph as its call 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from converters.foreign.layer_rules import clean_name, dtype, plain
from converters.foreign.refusal import Refusal

Resolve = Callable[[str, int, int], Any]
"""Gives a tensor of (layer, call, tensor); raises IndexError for a call that is still to come."""

_MOST_DEPTH = 20


@dataclass(frozen=True)
class Node:
    """One call of a layer: arguments that may hold references."""

    args: list[Any]
    kwargs: dict[str, Any]
    keras_2: bool


@dataclass(frozen=True)
class Reference:
    """A tensor that a layer's call gave."""

    layer: str
    call: int
    tensor: int


def parse_node(data: Any, where: str) -> Node:
    """Read a node. Raises Refusal when it is malformed."""
    match data:
        case {"args": list() as args, "kwargs": dict() as kwargs}:
            named = {key: _argument(value, where) for key, value in kwargs.items()}
            return Node([_argument(item, where) for item in args], named, keras_2=False)
        case [str(), *_]:  # a TFOpLambda of one tensor
            tensor, kwargs = _entry(data, where)
            return Node([tensor], kwargs, keras_2=True)
        case [[[str(), *_], *_]]:  # a list of one list of entries
            return parse_node(data[0], where)
        case [[str(), *_], *_]:
            entries = [_entry(item, where) for item in data]
            tensors = [tensor for tensor, _ in entries]
            return Node([tensors[0] if len(tensors) == 1 else tensors], entries[-1][1], True)
    raise Refusal(f"is damaged: {where} is called with {str(data)[:80]!r}")


def _entry(data: Any, where: str) -> tuple[Any, dict[str, Any]]:
    """A tensor, or a constant, and the further arguments of the call."""
    match data:
        case ["_CONSTANT_VALUE", -1, value, dict() as kwargs]:
            tensor: Any = plain(value, f"an argument of {where}")
        case [str(name), int(call), int(tensor_index), *rest] if len(rest) < 2:
            tensor = Reference(clean_name(name), call, tensor_index)
            kwargs = rest[0] if rest else {}
        case _:
            raise Refusal(f"is damaged: {where} is called with {str(data)[:80]!r}")
    if not isinstance(kwargs, dict):
        raise Refusal(f"is damaged: {where} is called with {str(kwargs)[:80]!r}")
    return tensor, {key: _keras_2_argument(value, where) for key, value in kwargs.items()}


def _keras_2_argument(value: Any, where: str) -> Any:
    match value:
        case [str(name), int(call), int(tensor)]:
            return Reference(clean_name(name), call, tensor)
        case [[str(), int(), int()], *_]:
            return [_keras_2_argument(item, where) for item in value]
    return plain(value, f"an argument of {where}")


def _argument(value: Any, where: str, depth: int = 0) -> Any:
    if depth > _MOST_DEPTH:
        raise Refusal(f"is not read: the arguments of {where} nest too deep")

    def inner(item: Any) -> Any:
        return _argument(item, where, depth + 1)

    match value:
        case {"class_name": "__keras_tensor__", "config": {"keras_history": [name, call, tensor]}}:
            if not (isinstance(call, int) and isinstance(tensor, int)):
                raise Refusal(f"is damaged: {where} is called with {str(value)[:80]!r}")
            return Reference(clean_name(name), call, tensor)
        case {"class_name": "__numpy__" | "__tensor__", "config": dict() as config}:
            kind = dtype(config.get("dtype"), where) or "float32"
            values = plain(config.get("value"), f"an argument of {where}")
            try:
                return np.array(values, "float32" if kind.startswith("bf") else kind)
            except (ValueError, TypeError, OverflowError) as error:
                raise Refusal(f"is damaged: a constant of {where}: {error}") from error
        case {"class_name": "__slice__", "config": dict() as config}:
            return slice(*(inner(config.get(key)) for key in ("start", "stop", "step")))
        case {"class_name": "__ellipsis__"}:
            return Ellipsis
        case list():
            items = [inner(item) for item in value]
            return tuple(items) if _is_index(items) else items
    return plain(value, f"an argument of {where}")


def _is_index(items: list[Any]) -> bool:
    """Whether these are the indices of `x[...]`, which only a tuple says."""
    return any(isinstance(item, slice) or item is Ellipsis for item in items)


def resolved(value: Any, resolve: Resolve) -> Any:
    """The arguments with tensors in the place of references. Raises IndexError, Refusal."""
    if isinstance(value, Reference):
        return resolve(value.layer, value.call, value.tensor)
    if isinstance(value, list | tuple):
        return type(value)(resolved(item, resolve) for item in value)
    if isinstance(value, dict):
        return {key: resolved(item, resolve) for key, item in value.items()}
    return value


def parse_ends(data: Any, what: str) -> Any:
    """The inputs or outputs of a model: a reference, or a list or dict of references."""
    match data:
        case [str(name), int(call), int(tensor)]:
            return Reference(clean_name(name), call, tensor)
        case list() if 0 < len(data) <= 100:
            return [parse_ends(item, what) for item in data]
        case dict() if 0 < len(data) <= 100:
            return {clean_name(key): parse_ends(item, what) for key, item in data.items()}
    raise Refusal(f"is damaged: the model's {what} are {str(data)[:80]!r}")


def shape(value: Any, where: str) -> tuple[int | None, ...]:
    """The shape of an input, with the batch. Raises Refusal."""
    sizes = plain(value, f"the shape of {where}")
    if isinstance(sizes, list) and 0 < len(sizes) <= 6:
        known = [size for size in sizes if size is not None]
        right = all(isinstance(size, int) and 0 < size <= 2**16 for size in known)
        if right and math.prod(known) < 2**31:
            return tuple(sizes)
    raise Refusal(f"is damaged: {where} has the shape {str(value)[:80]!r}")
