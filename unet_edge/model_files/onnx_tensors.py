"""The inputs, outputs and kinds of kernels of an .onnx file, without the rest of its graph.

Opening a model waits for it, so it reads as little as it can: 1 ms where the whole graph takes 7.
"""

from __future__ import annotations

from unet_edge.model_files.graph import Ends
from unet_edge.model_files.onnx_graph import (
    Reader,
    constant_of,
    graph_of,
    node_of,
    port_of,
    quantised,
    type_and_rank,
)


def read_onnx_ends(data: bytes) -> Ends:
    """Read them. Raises ValueError, IndexError or TypeError when the bytes are no ONNX model."""
    reader = Reader()
    graph = graph_of(reader, reader.message(memoryview(data)))
    tensors = [reader.message(tensor) for tensor in graph[5]]
    constants = dict(map(constant_of, tensors))
    # The input is dequantised first of all, perhaps behind a Transpose.
    nodes = []
    for raw in graph[1]:
        nodes.append(node_of(reader.message(raw)))
        if nodes[-1].operator == "DequantizeLinear":
            break
    scales = quantised(nodes, constants)
    inputs, outputs = (
        tuple(
            port
            for value in graph[place]
            if (port := port_of(reader, reader.message(value), scales)).name not in constants
        )
        for place in (11, 12)
    )
    kinds = (type_and_rank(tensor) for tensor in tensors)
    return inputs, outputs, frozenset(kind for kind, rank in kinds if rank > 1)
