from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import version

import onnx
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from converters.onnx import labels as onnx_labels
from converters.tflite import labels as tflite_labels
from unet_edge.model_files.read_graph import read_graph
from unet_edge.model_files.runtime_support import (
    ONNX_OPERATORS,
    ONNXRUNTIMES,
    TFLITE_RUNTIMES,
    TFLITE_VERSIONS,
    Release,
    RuntimeSupport,
    TooNew,
    runtime_support,
)
from unet_edge.model_files.tflite_graph import BUILTINS

Make = Callable[..., bytes]

TFLITE_RUNTIME = Release("tflite-runtime", "2.14")


def of_tflite(data: bytes) -> RuntimeSupport:
    return runtime_support(read_graph(data, "tflite", "m.tflite"))


def of_onnx(data: bytes) -> RuntimeSupport:
    return runtime_support(read_graph(data, "onnx", "m.onnx"))


# --- TFLite -----------------------------------------------------------------------------------


def test_the_table_has_every_operator_that_our_converters_write() -> None:
    assert set(TFLITE_VERSIONS) == set(BUILTINS.values())
    assert set(TFLITE_VERSIONS) >= tflite_labels.OPERATORS
    assert onnx_labels.OPERATORS <= ONNX_OPERATORS


def test_operators_that_every_runtime_supports_run_everywhere(tflite: Make) -> None:
    found = of_tflite(tflite(("CONV_2D", 7), ("ADD", 1)))
    assert found == RuntimeSupport(
        (TFLITE_RUNTIME, Release("ai-edge-litert", "1.2", and_later=True))
    )
    assert str(found) == "tflite-runtime 2.14, ai-edge-litert 1.2 or later"


def test_a_version_that_only_newer_runtimes_support(tflite: Make) -> None:
    found = of_tflite(tflite(("CONV_2D", 8), ("ADD", 1)))
    assert found == RuntimeSupport(
        (Release("ai-edge-litert", "1.2", and_later=True),),
        {TFLITE_RUNTIME: (TooNew("CONV_2D", 8, 7),)},
    )
    assert found.to_dict() == {
        "runs_on": ["ai-edge-litert 1.2 or later"],
        "refused_by": {"tflite-runtime 2.14": "CONV_2D version 8 (it has up to 7)"},
        "unknown": [],
    }
    found = of_tflite(tflite(("QUANTIZE", 6)))
    assert found.runs_on == (Release("ai-edge-litert", "2.3", and_later=True),)


def test_a_version_that_no_runtime_supports(tflite: Make) -> None:
    found = of_tflite(tflite(("CONV_2D", 99)))
    assert found.runs_on == ()
    assert set(found.refused_by) == set(TFLITE_RUNTIMES)
    assert str(found) == "no runtime in the table"


@pytest.mark.parametrize("operator", [("SIN", 1), ("CUSTOM", 1), ("ADD", 0)])
def test_an_unknown_operator_runs_nowhere(tflite: Make, operator: tuple[str, int]) -> None:
    found = of_tflite(tflite(("CONV_2D", 1), operator))
    assert found.runs_on == ()
    assert len(found.unknown) == 1
    assert str(found).startswith("unknown: ")


def test_the_litert_installed_here_is_as_new_as_the_table_says(tflite: Make) -> None:
    """By its own refusals of operators: "Didn't find op for builtin opcode … version …"."""

    def known(name: str, number: int) -> bool:
        try:
            Interpreter(
                model_content=tflite((name, number)),
                experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            )
        except ValueError as error:
            if "Didn't find op" not in str(error):
                raise
            return False
        return True

    table = TFLITE_RUNTIMES[-1].version
    assert all(known(name, row[-1]) for name, row in TFLITE_VERSIONS.items())
    if version("ai-edge-litert").startswith(f"{table}."):
        assert not [name for name, row in TFLITE_VERSIONS.items() if known(name, row[-1] + 1)]


# --- ONNX -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("opset", "ir_version", "oldest"),
    [
        (7, 3, "1.4"),
        (12, 7, "1.4"),
        (14, 7, "1.8"),
        (14, 8, "1.9"),
        (17, 10, "1.18"),
        (28, 14, "1.32"),
    ],
)
def test_the_oldest_onnxruntime(onnx_file: Make, opset: int, ir_version: int, oldest: str) -> None:
    found = of_onnx(onnx_file("Relu", opset=opset, ir_version=ir_version))
    assert found == RuntimeSupport((Release("onnxruntime", oldest, and_later=True),))


@pytest.mark.parametrize(
    ("operator", "opset", "ir_version", "says"),
    [
        ("Relu", 29, 7, "opset 29, IR 7 (onnxruntime 1.32 has up to opset 28, IR 14)"),
        ("Relu", 14, 15, "opset 14, IR 15 (onnxruntime 1.32 has up to opset 28, IR 14)"),
        ("Relu", 6, 3, "opset 6 (onnxruntime supports 7 and newer)"),
        ("Relu", None, 7, "opset None (onnxruntime supports 7 and newer)"),
        ("Sin", 14, 7, "Sin"),
        ("com.microsoft.Relu", 14, 7, "com.microsoft.Relu"),
    ],
)
def test_opsets_and_operators_outside_the_table_are_unknown(
    onnx_file: Make, operator: str, opset: int | None, ir_version: int, says: str
) -> None:
    found = of_onnx(onnx_file(operator, opset=opset, ir_version=ir_version))
    assert found == RuntimeSupport(unknown=(says,))


def test_our_onnx_operators_exist_in_the_opset_that_we_write() -> None:
    for name in ONNX_OPERATORS:
        assert onnx.defs.get_schema(name, 14).since_version <= 14


def test_the_onnxruntime_installed_here_is_as_new_as_the_table_says(onnx_file: Make) -> None:
    here = tuple(map(int, onnxruntime.__version__.split(".")[:2]))
    rows = [row for row in ONNXRUNTIMES if tuple(map(int, row[0].split("."))) <= here]
    _, opset, ir_version = rows[-1]

    def known(opset: int, ir_version: int) -> bool:
        data = onnx.load_from_string(onnx_file(opset=opset, ir_version=ir_version))
        # The output is the input, so that no version of an operator matters.
        del data.graph.output[:]
        data.graph.node.append(onnx.helper.make_node("Identity", ["pixels"], ["same"]))
        output = data.graph.output.add()
        output.CopyFrom(data.graph.input[0])
        output.name = "same"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        try:
            onnxruntime.InferenceSession(
                data.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions have no other common base class
            if not re.search("opset|IR version", str(error)):
                raise
            return False
        return True

    assert known(opset, 3)
    assert known(7, ir_version)
    if len(rows) < len(ONNXRUNTIMES):  # a release after the table's last may support more
        assert not known(opset + 1, 3)
        assert not known(7, ir_version + 1)
