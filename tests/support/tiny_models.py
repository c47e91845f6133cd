"""Real models of one operation, logits = (pixels - 128) / 128, made without a converter."""

import numpy as np
import pytest

H, W, CLASSES = 4, 6, 3


def tiny_tflite():
    """A TFLite model of one operator: logits = (pixels - 128) / 128."""
    flatbuffers = pytest.importorskip("flatbuffers")
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")

    def tensor(name, kind):
        t = schema.TensorT()
        t.name, t.type, t.shape = name, kind, np.array([1, H, W, CLASSES], np.int32)
        return t

    pixels = tensor("pixels", schema.TensorType.UINT8)
    pixels.quantization = schema.QuantizationParametersT()
    pixels.quantization.scale = np.array([1 / 128], np.float32)
    pixels.quantization.zeroPoint = np.array([128], np.int64)

    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
    code.version = 1
    operator = schema.OperatorT()
    operator.opcodeIndex = 0
    operator.inputs, operator.outputs = np.array([0], np.int32), np.array([1], np.int32)

    graph = schema.SubGraphT()
    graph.tensors = [pixels, tensor("logits", schema.TensorType.FLOAT32)]
    graph.inputs, graph.outputs = operator.inputs, operator.outputs
    graph.operators = [operator]
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers = [schema.BufferT()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def tiny_onnx(**properties):
    """The same model in ONNX, with metadata of another program."""
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    shape = (1, H, W, CLASSES)

    def constant(name, value):
        return helper.make_tensor(name, kinds.FLOAT, (), [value])

    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["pixels"], ["floats"], to=kinds.FLOAT),
            helper.make_node("Sub", ["floats", "mean"], ["centred"]),
            helper.make_node("Div", ["centred", "std"], ["logits"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("pixels", kinds.UINT8, shape)],
        [helper.make_tensor_value_info("logits", kinds.FLOAT, shape)],
        [constant("mean", 128.0), constant("std", 128.0)],
    )
    model = helper.make_model(
        graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)], producer_name="test"
    )
    helper.set_model_props(model, {"author": "someone", **properties})
    return model.SerializeToString(deterministic=True)
