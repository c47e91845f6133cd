"""Labels as the output of an .onnx file: the arg-max of its scores.

`converters/tflite/labels.py` says why the arg-max is added after the conversion.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.freeze import LABELS, LOGITS
from unet_edge.errors import ConversionError
from unet_edge.spec import ModelSpec

#: The added operators.
OPERATORS = frozenset({"ArgMax", "Cast", "Greater", "Split", "Squeeze"})


def end_in_labels(proto: Any, spec: ModelSpec) -> None:
    """Replace the output of a ModelProto by labels, uint8 (1, H, W), in place.

    Removes the Transpose to NHWC, which labels do not need. Two classes are compared with Greater,
    which takes one byte for each pixel; ArgMax takes eight.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = proto.graph
    last = graph.node[-1]
    if last.op_type != "Transpose" or list(last.output) != [LOGITS]:
        raise ConversionError(
            f"the graph ends in {last.op_type}", expected="expected the Transpose to NHWC"
        )
    graph.node.remove(last)
    (scores,) = last.input
    if len(spec.classes) == 2:
        graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "channel"))
        graph.node.extend(
            [
                helper.make_node("Split", [scores], ["first", "second"], axis=1),
                helper.make_node("Greater", ["second", "first"], ["found"]),
                helper.make_node("Cast", ["found"], ["planes of labels"], to=TensorProto.UINT8),
                helper.make_node("Squeeze", ["planes of labels", "channel"], [LABELS]),
            ]
        )
    else:
        graph.node.extend(
            [
                helper.make_node("ArgMax", [scores], ["indices"], axis=1, keepdims=0),
                helper.make_node("Cast", ["indices"], [LABELS], to=TensorProto.UINT8),
            ]
        )
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(LABELS, TensorProto.UINT8, (1, *spec.size)))
