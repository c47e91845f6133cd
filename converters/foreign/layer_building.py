"""Build one layer from its configuration in a file."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from converters.foreign.graph_references import shape
from converters.foreign.layer_rules import (
    TRAINING_ONLY,
    dtype,
    layer_class,
    require_known,
    settings,
)
from converters.foreign.refusal import Refusal
from converters.freeze import reason


@dataclass
class WeightBudget:
    """The number of weights that the file holds; a model that needs more is not built.

    A layer's settings take a few bytes and can ask for terabytes of weights.
    """

    left: int
    layer: str = ""

    def initialise(self, shape: tuple[int, ...], dtype: Any = None, **_: Any) -> Any:
        """The initial values of a variable: zeros, which the file's weights replace."""
        self.left -= math.prod(shape)
        if self.left < 0:
            raise Refusal(
                f"is damaged: layer {self.layer!r} needs more weights than the file holds"
            )
        return keras.ops.zeros(shape, dtype=dtype)


def required_class(entry: dict[str, Any], where: str) -> str:
    """The class of a layer that may be built. Raises Refusal for any other."""
    kind = entry.get("class_name")
    if not isinstance(kind, str):
        raise Refusal(f"is damaged: {where} has no class")
    require_known(kind, entry.get("module"), entry.get("registered_name"), where)
    return layer_class(kind)


def build_layer(
    kind: str, config: Any, name: str, budget: WeightBudget, *, keras_2: bool
) -> keras.layers.Layer:
    """Build a layer of the class `kind`, whose weights will be zeros. Raises Refusal."""
    where = f"layer {name!r}"
    if not isinstance(config, dict):
        raise Refusal(f"is damaged: {where} has no settings")
    if kind in TRAINING_ONLY or kind == "Dropout":
        return keras.layers.Dropout(0.0, name=name)
    arguments = settings(kind, config, where, keras_2)
    made = getattr(keras.layers, kind)
    for parameter in inspect.signature(made.__init__).parameters:
        if parameter.endswith("_initializer"):
            arguments[parameter] = budget.initialise
    return attempt(where, lambda: made(**arguments, name=name))


def input_layer(config: Any, name: str) -> keras.layers.Layer:
    """Build the input of a model. Raises Refusal."""
    where = f"layer {name!r}"
    if not isinstance(config, dict) or config.get("sparse"):
        raise Refusal(f"is not read: the input {name!r} is sparse")
    sizes = config.get("batch_shape", config.get("batch_input_shape"))
    return attempt(
        where,
        lambda: keras.layers.InputLayer(
            batch_shape=shape(sizes, where), dtype=dtype(config.get("dtype"), where), name=name
        ),
    )


def attempt(where: str, action: Callable[[], Any]) -> Any:
    """Let Keras build or call a layer. Raises Refusal when it cannot."""
    try:
        return action()
    except Refusal:
        raise
    except Exception as error:  # Keras' layers raise any kind for settings that do not fit
        raise Refusal(f"is damaged: {where} cannot be built: {reason(error)}") from error
