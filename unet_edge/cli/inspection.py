"""The command that shows what is in a bundle or a model file, on any machine. No TensorFlow."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import click

from unet_edge.bundle.bundle import Bundle
from unet_edge.bundle.manifest import MANIFEST, manifest_schema
from unet_edge.cli.options import json_option, path_type
from unet_edge.cli.output import print_bundle, print_json, print_spec, print_table, say
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
    help="Print the JSON Schema of bundle.json, and end.",
)
@json_option
def inspect(path: Path, as_json: bool) -> None:
    """Show what is in a bundle, a run's bundle, or a single .tflite or .onnx file.

    The contract, digests, operators, quantisation, and which runtimes can run each file. A single
    file without a contract, or changed since its export, is shown as far as it can be read; the
    exit status is then 1.

    \b
    Examples:
      unet-edge inspect runs/cats/bundle
      unet-edge inspect model-int8.tflite --json
      unet-edge inspect --schema
    """
    if path.is_dir():
        _inspect_folder(path, as_json)
    else:
        _inspect_file(path, as_json)


def _inspect_folder(path: Path, as_json: bool) -> None:
    from unet_edge.runtime.segmenter import KERAS_MODEL, SPEC_FILE, read_spec
    from unet_edge.runtime.tuning_cache import describe

    if not (path / MANIFEST).exists() and (path / KERAS_MODEL).is_file():
        if not (path / "bundle" / MANIFEST).exists():
            spec = read_spec(path / SPEC_FILE)
            if as_json:
                print_json({"path": str(path), "spec": spec.to_dict(), "files": []})
            else:
                print_spec(spec)
            say(f"{path} is a run without a bundle; 'unet-edge export {path}' writes one")
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
        said = {"path": str(bundle.path), "digest": bundle.digest, "tuning": describe(bundle)}
        report: dict[str, Any] = said | bundle.to_dict()
        for entry in report["files"]:
            entry |= {"contract_holds": True, **_facts(graphs[entry["name"]])}
        print_json(report)
        return
    print_bundle(bundle, as_json=False)
    click.echo()
    print_table(
        [
            (name, _ends(graph), _kernels(graph), _runs_on(graph, runtime_support(graph)))
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


def _inspect_file(path: Path, as_json: bool) -> None:
    data = load_model_bytes(path)
    file_format: Format = format_of(data, str(path))
    contract, broken = None, None
    try:
        contract = parse_contract(data, str(path))
        checked_contract(data, str(path))
    except ModelFileError as error:
        broken = error
    try:
        graph = read_graph(data, file_format, str(path))
    except ModelFileError as error:
        raise broken or error from None
    facts = {
        "file": path.name,
        "format": file_format,
        "precision": contract.precision if contract else None,
        "bytes": len(data),
        "sha256": sha256(data),
    }
    if as_json:
        spec = contract.spec.to_dict() if contract else None
        print_json({**facts, "contract_holds": not broken, "spec": spec, **_facts(graph)})
    else:
        facts["contract"] = "DOES NOT HOLD" if broken else "holds: every byte is as exported"
        print_table([*facts.items(), *_graph_rows(graph)])
        if contract:
            print_spec(contract.spec)
        print_table(
            [(op.name, op.version, op.count) for op in graph.operators],
            ["operator", "version", "count"],
        )
    if broken:
        raise broken


def _facts(graph: AnyGraph) -> dict[str, Any]:
    """What --json says of a graph."""
    return {"graph": dataclasses.asdict(graph), **runtime_support(graph).to_dict()}


def _graph_rows(graph: AnyGraph) -> list[tuple[str, str]]:
    found = runtime_support(graph)
    rows = [("runs on", _runs_on(graph, found))]
    rows += [(f"not on {release}", reason) for release, reason in found.reasons.items()]
    if isinstance(graph, TFLiteGraph) and graph.min_runtime_version:
        rows.append(("its converter says", f"TensorFlow {graph.min_runtime_version} or later"))
    if isinstance(graph, OnnxGraph) and graph.can_saturate:
        rows.append(("int8", SATURATES))
    rows += [("input", _spell_out(port)) for port in graph.inputs]
    rows += [("output", _spell_out(port)) for port in graph.outputs]
    return [*rows, ("kernels", _kernels(graph))]


def _runs_on(graph: AnyGraph, found: RuntimeSupport) -> str:
    if isinstance(graph, OnnxGraph):
        return f"{found} (opset {graph.opset}, IR {graph.ir_version})"
    return str(found)


def _spell_out(port: TensorInfo) -> str:
    shape = "x".join(map(str, port.shape))
    text = f"{port.name}, {port.dtype} {shape}"
    if port.scale is not None:
        text += f", scale {port.scale:.6g}, zero point {port.zero_point}"
    return text


def _ends(graph: AnyGraph) -> str:
    """The types at both ends: "uint8 -> float32"."""
    ends = ((port.dtype for port in ports) for ports in (graph.inputs, graph.outputs))
    return " -> ".join(", ".join(end) for end in ends)


def _operators(graph: AnyGraph) -> str:
    """How often each occurs, of all its versions: "3 CONCATENATION, 17 CONV_2D"."""
    counts: Counter[str] = Counter()
    for op in graph.operators:
        counts[op.name] += op.count
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _kernels(graph: AnyGraph) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in graph.kernels.items()) or "none"
