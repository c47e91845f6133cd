"""What every edit of a .tflite graph needs, on a `ModelT` of the TFLite schema."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def builtin_code(model: Any, operator: Any) -> int:
    """The schema's BuiltinOperator of an operator, as TFLite reads it: the larger of two fields."""
    code = model.operatorCodes[operator.opcodeIndex]
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))


def new_operator(
    model: Any, builtin: int, inputs: Sequence[int], output: int, *, version: int = 1
) -> Any:
    """An operator between tensors, by their indices; the caller puts it into the graph."""
    from ai_edge_litert import schema_py_generated as schema

    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = builtin
    code.version = version
    model.operatorCodes.append(code)
    operator = schema.OperatorT()
    operator.opcodeIndex = len(model.operatorCodes) - 1
    operator.inputs = np.array(inputs, np.int32)
    operator.outputs = np.array([output], np.int32)
    return operator
