"""The command that shows what is in a bundle or a model file, without TensorFlow."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import click

from unet_edge.bundle.bundle import Bundle
from unet_edge.bundle.manifest import MANIFEST, manifest_schema
from unet_edge.cli.options import json_option, path_type
from unet_edge.cli.output import print_bundle, print_json, print_note, print_spec, print_table
from unet_edge.errors import ModelFileError
from unet_edge.model_files.contract_check import checked_contract
from unet_edge.model_files.embedded_contract import (
    Format,
    format_of,
    load_model_bytes,
    parse_contract,
)
from unet_edge.model_files.read_graph import (
    SATURATES,
    OnnxGraph,
    TensorInfo,
    TFLiteGraph,
    read_graph,
)
from unet_edge.model_files.runtime_support import RuntimeSupport, runtime_support
from unet_edge.spec import ModelSpec
from unet_edge.system.files import sha256

AnyGraph = TFLiteGraph | OnnxGraph


def _print_schema(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        print_json(manifest_schema())
        ctx.exit()


@click.command()
@click.argument("path", type=path_type())
@click.option(
    "--schema",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_schema,
    help="Print the JSON Schema of bundle.json and exit.",
)
@json_option
def inspect(path: Path, as_json: bool) -> None:
    """Show what is in a bundle, a run's bundle, or a single .tflite or .onnx file.

    It prints the contract, digests, operators, quantisation, and the runtimes that can run each
    file. A single file that has no contract or was changed since its export is shown as far as it
    can be read, and the exit status is then 1.

    \b
    Examples:
      unet-edge inspect runs/cats/bundle
      unet-edge inspect model-int8.tflite --json
      unet-edge inspect --schema
    """
    from unet_edge.runtime.run_folder import foreign_model, is_foreign_model

    if is_foreign_model(path):
        foreign = foreign_model(path)
        raise ModelFileError(foreign.found, fix=foreign.fix)
    if path.is_dir():
        _inspect_folder(path, as_json)
    else:
        _inspect_file(path, as_json)


def _inspect_folder(path: Path, as_json: bool) -> None:
    from unet_edge.runtime.run_folder import PROGRESS_FOLDER
    from unet_edge.runtime.segmenter import KERAS_MODEL, SPEC_FILE, read_spec
    from unet_edge.runtime.tuning_cache import describe

    is_run = (path / KERAS_MODEL).is_file() or (path / PROGRESS_FOLDER).is_dir()
    if is_run and not (path / MANIFEST).exists():
        if not (path / "bundle" / MANIFEST).exists():
            _inspect_run(path, read_spec(path / SPEC_FILE), as_json)
            return
        path = path / "bundle"
    bundle = Bundle.open(path)
    graphs: dict[str, AnyGraph] = {}
    for entry in bundle.files:
        data = bundle.read(entry)
        checked_contract(data, str(path / entry.name))
        graphs[entry.name] = read_graph(data, entry.format, str(path / entry.name))
    for golden in bundle.golden:
        bundle.read_golden(golden)
    for card in bundle.card:
        bundle.read_card(card)
    if as_json:
        own = {"path": str(bundle.path), "digest": bundle.digest, "tuning": describe(bundle)}
        report: dict[str, Any] = own | bundle.to_dict()
        for entry in report["files"]:
            entry |= {"contract_holds": True, **_graph_dict(graphs[entry["name"]])}
        print_json(report)
        return
    print_bundle(bundle, as_json=False)
    click.echo()
    print_table(
        [
            (name, _dtypes(graph), _kernels(graph), _runs_on(graph, runtime_support(graph)))
            for name, graph in graphs.items()
        ],
        ["file", "input -> output", "kernels", "runs on"],
    )
    click.echo()
    print_table(
        [(name, _operators(graph)) for name, graph in graphs.items()], ["file", "operators"]
    )
    for name, graph in graphs.items():
        for release, reason in runtime_support(graph).reasons.items():
            click.echo(f"{name} does not run on {release}: {reason}")
        if isinstance(graph, OnnxGraph) and graph.can_saturate:
            click.echo(f"{name}: {SATURATES}")
    click.echo(describe(bundle))


def _inspect_run(run: Path, spec: ModelSpec, as_json: bool) -> None:
    """Show the contract of a run without a bundle, and where an imported model came from."""
    from unet_edge.runtime.imported import read_imported
    from unet_edge.runtime.run_folder import is_imported

    imported = read_imported(run) if is_imported(run) else None
    if as_json:
        source = {} if imported is None else {"imported": imported.to_dict()}
        print_json({"path": str(run), "spec": spec.to_dict(), "files": [], **source})
    else:
        print_spec(spec)
        if imported is not None:
            source = dataclasses.asdict(imported.source)
            print_table([(f"imported: {name}", value) for name, value in source.items() if value])
    data = " --data PICTURES" if imported else ""
    print_note(f"{run} is a run without a bundle; 'unet-edge export {run}{data}' writes one")


def _inspect_file(path: Path, as_json: bool) -> None:
    data = load_model_bytes(path)
    file_format: Format = format_of(data, str(path))
    contract, contract_error = None, None
    try:
        contract = parse_contract(data, str(path))
        checked_contract(data, str(path))
    except ModelFileError as error:
        contract_error = error
    try:
        graph = read_graph(data, file_format, str(path))
    except ModelFileError as error:
        raise contract_error or error from None
    facts = {
        "file": path.name,
        "format": file_format,
        "precision": contract.precision if contract else None,
        "bytes": len(data),
        "sha256": sha256(data),
    }
    if as_json:
        spec = contract.spec.to_dict() if contract else None
        print_json(
            {**facts, "contract_holds": not contract_error, "spec": spec, **_graph_dict(graph)}
        )
    else:
        facts["contract"] = (
            "DOES NOT HOLD" if contract_error else "holds: every byte is as exported"
        )
        print_table([*facts.items(), *_graph_rows(graph)])
        if contract:
            print_spec(contract.spec)
        print_table(
            [(op.name, op.version, op.count) for op in graph.operators],
            ["operator", "version", "count"],
        )
    if contract_error:
        raise contract_error


def _graph_dict(graph: AnyGraph) -> dict[str, Any]:
    """A graph and its runtimes as plain JSON values."""
    return {"graph": dataclasses.asdict(graph), **runtime_support(graph).to_dict()}


def _graph_rows(graph: AnyGraph) -> list[tuple[str, str]]:
    support = runtime_support(graph)
    rows = [("runs on", _runs_on(graph, support))]
    rows += [(f"not on {release}", reason) for release, reason in support.reasons.items()]
    if isinstance(graph, TFLiteGraph) and graph.min_runtime_version:
        rows.append(("per its converter", f"TensorFlow {graph.min_runtime_version} or later"))
    if isinstance(graph, OnnxGraph) and graph.can_saturate:
        rows.append(("int8", SATURATES))
    rows += [("input", _tensor_text(tensor)) for tensor in graph.inputs]
    rows += [("output", _tensor_text(tensor)) for tensor in graph.outputs]
    return [*rows, ("kernels", _kernels(graph))]


def _runs_on(graph: AnyGraph, support: RuntimeSupport) -> str:
    if isinstance(graph, OnnxGraph):
        return f"{support} (opset {graph.opset}, IR {graph.ir_version})"
    return str(support)


def _tensor_text(tensor: TensorInfo) -> str:
    """A tensor in one line: "pixels, uint8 1x192x192x3, scale 0.0078125, zero point 128"."""
    shape = "x".join(map(str, tensor.shape))
    text = f"{tensor.name}, {tensor.dtype} {shape}"
    if tensor.scale is not None:
        text += f", scale {tensor.scale:.6g}, zero point {tensor.zero_point}"
    return text


def _dtypes(graph: AnyGraph) -> str:
    """The types of inputs and outputs: "uint8 -> float32"."""
    sides = ((tensor.dtype for tensor in tensors) for tensors in (graph.inputs, graph.outputs))
    return " -> ".join(", ".join(side) for side in sides)


def _operators(graph: AnyGraph) -> str:
    """The count of each operator, over all its versions: "3 CONCATENATION, 17 CONV_2D"."""
    counts: Counter[str] = Counter()
    for op in graph.operators:
        counts[op.name] += op.count
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _kernels(graph: AnyGraph) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in graph.kernels.items()) or "none"
