"""Labels as output: the arg-max of the scores as the last step of an .onnx file.

See `converters/tflite/labels.py` for why it stands behind the conversion.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.freeze import LABELS, LOGITS
from unet_edge.errors import ConversionError
from unet_edge.spec import ModelSpec

#: What it adds.
OPERATORS = frozenset({"ArgMax", "Cast", "Greater", "Split", "Squeeze"})


def end_in_labels(proto: Any, spec: ModelSpec) -> None:
    """End `proto`, a ModelProto, in labels, uint8 (1, H, W), in place.

    Before the Transpose to NHWC, which the labels do not need. Two classes are compared, which
    takes a byte for each pixel where ArgMax takes eight.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = proto.graph
    last = graph.node[-1]
    if last.op_type != "Transpose" or list(last.output) != [LOGITS]:
        raise ConversionError(f"the graph ends in {last.op_type}, not in the Transpose to NHWC")
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
