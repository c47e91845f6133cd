"""Functions to edit a .tflite graph, a `ModelT` of the TFLite schema."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def builtin_code(model: Any, operator: Any) -> int:
    """The operator's BuiltinOperator in the schema. TFLite takes the larger of two fields."""
    code = model.operatorCodes[operator.opcodeIndex]
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))


def new_operator(
    model: Any, builtin: int, inputs: Sequence[int], output: int, *, version: int = 1
) -> Any:
    """A new operator between tensors, given by index; the caller adds it to the graph."""
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
