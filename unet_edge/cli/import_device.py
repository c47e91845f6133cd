"""What an imported model becomes on the device: operators, partitions, and what runs it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unet_edge.cli.output import print_line
from unet_edge.errors import ConversionError
from unet_edge.system.counting import counted

if TYPE_CHECKING:
    from converters.foreign.import_model import ImportedModel
    from converters.settings import Artifact


@dataclass(frozen=True)
class DeviceGraph:
    """The graph of a model's float32 .tflite file; every kind of file has the same layers.

    `operators` counts each operator, and `slow` those that have no kernel of XNNPACK, LiteRT's fast
    kernels. XNNPACK runs the others in `partitions`. Both are LiteRT's answer on this machine.
    `runs_on` names the runtimes that run the file, in words.
    """

    operators: Mapping[str, int]
    slow: Mapping[str, int]
    partitions: int
    runs_on: str

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return dataclasses.asdict(self)


def device_graph(imported: ImportedModel) -> DeviceGraph | ConversionError:
    """Convert a model to a float32 .tflite file in memory and read its graph.

    Returns the error if the model cannot be converted: an .onnx file may still be possible.
    """
    from converters.artifacts import Converter
    from converters.slow_parts import slow_operators
    from converters.tflite.check import operators, partitions
    from unet_edge.model_files.read_graph import read_graph
    from unet_edge.model_files.runtime_support import runtime_support

    artifact: Artifact = ("tflite", "float32")
    try:
        data, _ = Converter(imported.model, imported.spec, ()).convert(artifact)
    except ConversionError as error:
        return error
    return DeviceGraph(
        operators=dict(sorted(operators(data).items())),
        slow=dict(slow_operators(data)),
        partitions=partitions(data),
        runs_on=str(runtime_support(read_graph(data, "tflite", imported.spec.name))),
    )


def print_device_graph(graph: DeviceGraph | ConversionError) -> None:
    """Print the operators of a model, which of them are slow, and the runtimes."""
    if isinstance(graph, ConversionError):
        print_line(f"no .tflite file can be made: {graph}")
        return
    named = ", ".join(f"{name} ({count})" for name, count in graph.operators.items())
    print_line("on the device, as a float32 .tflite file:")
    print_line(f"  operators: {named}")
    if graph.slow:
        from converters.slow_parts import slow_text

        print_line(f"  slow: {slow_text(graph.slow, graph.partitions)}")
    else:
        print_line(f"  XNNPACK runs all of them, in {counted(graph.partitions, 'partition')}")
    print_line(f"  runs on: {graph.runs_on}")
