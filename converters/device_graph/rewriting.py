"""Rewrite a model for one file format: the same scores up to rounding, from faster operators."""

from __future__ import annotations

from collections.abc import Callable

import keras

from converters.device_graph.batch_norm import as_depthwise, fold_forward, scale_backward
from converters.device_graph.graph import Graph
from converters.device_graph.nearest import (
    merge_into_convolutions,
    resize_the_rest,
    upsample_late,
)
from converters.device_graph.padding import pad_in_convolutions
from converters.device_graph.replacing import group_in_one_operator, spell_out_gelu
from converters.device_graph.transposed import transposed_as_convolutions
from converters.freeze import as_float32
from unet_edge.model_files.embedded_contract import Format

Rule = Callable[[Graph], bool]
"""Rewrites a graph in place, and says whether it changed anything."""

_RULES: tuple[Rule, ...] = (
    group_in_one_operator,
    pad_in_convolutions,
    scale_backward,
    upsample_late,
    fold_forward,
    transposed_as_convolutions,
    merge_into_convolutions,
    resize_the_rest,
    as_depthwise,
)
_ONLY: dict[Format, tuple[Rule, ...]] = {"tflite": (), "onnx": (spell_out_gelu,)}
"""The rules of one format alone."""


def for_device(model: keras.Model, file_format: Format) -> keras.Model:
    """A copy of `model` whose file of this format is fast; `model` itself if nothing is to do.

    `model` is a run's model: pixels in, logits out, layers without nested models. Both compute the
    same logits up to float32 rounding, for every size that `model` takes. The copy is for
    conversion only: its layers may be of classes that a .keras file cannot load, and several may
    stand for one of `model`. A layer that stays keeps its name and its weights' values.
    """
    graph = Graph(as_float32(model))
    changed = [rule(graph) for rule in (*_RULES, *_ONLY[file_format])]
    return graph.model() if any(changed) else model
