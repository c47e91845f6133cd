"""The graph of an .onnx file, read without the onnx library."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from unet_edge.model_files.graph import OnnxGraph, Operator, TensorInfo
from unet_edge.model_files.onnx_messages import (
    GRAPH_INITIALIZERS,
    GRAPH_INPUTS,
    GRAPH_NODES,
    GRAPH_OUTPUTS,
    Constant,
    Message,
    OnnxNode,
    Reader,
    constant_of,
    dtype_name,
    graph_of,
    group_of,
    node_of,
    number_field,
    repeated_numbers,
    tensor_info_of,
    text_field,
)

# Operators whose second input is the kernel.
_WITH_KERNEL = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def read_onnx(data: bytes) -> OnnxGraph:
    """Read the graph. Operators inside the branches of If and Loop are not counted.

    Raises ValueError, IndexError or TypeError when the bytes are not an ONNX model.
    """
    reader = Reader()
    model = reader.message(memoryview(data))
    graph = graph_of(reader, model)
    nodes = _nodes(reader, graph)
    tensors = [reader.message(tensor) for tensor in graph[GRAPH_INITIALIZERS]]
    constants = dict(map(constant_of, tensors))
    counts = Counter(node.operator for node in nodes)
    inputs, outputs = inputs_and_outputs(reader, graph, constants, quantised(nodes, constants))
    opsets = dict(_opset(reader.message(entry)) for entry in model[8])
    return OnnxGraph(
        operators=tuple(Operator(name, count) for name, count in sorted(counts.items())),
        inputs=inputs,
        outputs=outputs,
        kernels=_kernels(nodes, constants),
        opset=opsets.get("", opsets.get("ai.onnx")),
        ir_version=number_field(model, 1),
        can_saturate=_can_saturate(nodes, _groups(reader, graph), tensors),
    )


def read_onnx_nodes(data: bytes) -> tuple[OnnxNode, ...]:
    """Read the operations of a graph, in the order of the file. Raises as `read_onnx` does."""
    reader = Reader()
    return _nodes(reader, graph_of(reader, reader.message(memoryview(data))))


def _groups(reader: Reader, graph: Message) -> list[int]:
    """The number of groups of each node, 1 where it has none."""
    return [
        group_of(reader, message) if text_field(message, 4) == "Conv" else 1
        for message in map(reader.message, graph[GRAPH_NODES])
    ]


def _can_saturate(
    nodes: Sequence[OnnxNode], groups: Sequence[int], tensors: Sequence[Message]
) -> bool:
    """Whether sums of an int8 convolution can saturate; a kernel stored unusually counts as one."""
    stored = {n.outputs[0]: n.inputs[0] for n in nodes if n.operator == "DequantizeLinear"}
    kernels = {
        stored.get(node.inputs[1]): count
        for node, count in zip(nodes, groups, strict=True)
        if node.operator == "Conv"
    }
    for tensor in tensors:
        name = text_field(tensor, 8)
        if name not in kernels or dtype_name(number_field(tensor, 2)) != "int8":
            continue
        # Here, not at the top: the doctor reads graphs also where NumPy is missing.
        import numpy as np

        from unet_edge.model_files.saturation import can_saturate

        shape = repeated_numbers(tensor[1])
        if len(shape) != 4 or not tensor[9]:  # the values are in another field or file
            return True
        if can_saturate(np.frombuffer(tensor[9][-1], np.int8).reshape(shape), kernels[name]):
            return True
    return False


def _nodes(reader: Reader, graph: Message) -> tuple[OnnxNode, ...]:
    return tuple(node_of(reader.message(node)) for node in graph[GRAPH_NODES])


def _kernels(nodes: Sequence[OnnxNode], constants: dict[str, Constant]) -> dict[str, int]:
    """Count the kernels by how they are stored; a kernel that operators share counts once."""
    # The stored tensor of each kernel, and its scale; behind a Cast there is no scale.
    stored_as = {n.outputs[0]: n.inputs[:2] for n in nodes if n.operator == "DequantizeLinear"}
    stored_as |= {n.outputs[0]: n.inputs[:1] for n in nodes if n.operator == "Cast"}
    names = {n.inputs[1] for n in nodes if n.operator in _WITH_KERNEL}
    kernels: Counter[str] = Counter()
    for name in names:
        stored, *scale = stored_as.get(name, (name,))
        if stored in constants:
            sizes = [constants[s].size for s in scale if s in constants]
            granularity = f" per {'channel' if max(sizes) > 1 else 'tensor'}" if sizes else ""
            kernels[constants[stored].dtype + granularity] += 1
    return dict(sorted(kernels.items()))


def quantised(
    nodes: Sequence[OnnxNode], constants: dict[str, Constant]
) -> dict[str, tuple[float, int]]:
    """Scale and zero point of tensors that a DequantizeLinear reads, directly or by a Transpose."""
    source = {n.outputs[0]: n.inputs[0] for n in nodes if n.operator == "Transpose"}
    scales: dict[str, tuple[float, int]] = {}
    for node in nodes:
        if node.operator != "DequantizeLinear":
            continue
        tensor, *parameters = node.inputs
        values = [constants[name].value for name in parameters if name in constants]
        if values and values[0] is not None and None not in values:
            pair = (values[0], int(values[1] or 0) if len(values) > 1 else 0)
            scales[tensor] = scales[source.get(tensor, tensor)] = pair
    return scales


def inputs_and_outputs(
    reader: Reader,
    graph: Message,
    constants: dict[str, Constant],
    scales: dict[str, tuple[float, int]],
) -> tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...]]:
    """The inputs and outputs of a graph, without its constants, with their scales."""
    inputs, outputs = (
        tuple(
            info
            for value in graph[field]
            if (info := tensor_info_of(reader, reader.message(value), scales)).name not in constants
        )
        for field in (GRAPH_INPUTS, GRAPH_OUTPUTS)
    )
    return inputs, outputs


def _opset(entry: Message) -> tuple[str, int]:
    return text_field(entry, 1), number_field(entry, 2)
