"""The command that says what runs on this machine, and how to fix what does not. No TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unet_edge.cli.group import Failure
from unet_edge.cli.options import json_option, path_type
from unet_edge.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from unet_edge.doctor.checkup import Diagnosis
    from unet_edge.system.board import Board

_STATES = {
    "works": "works",
    "absent": "not installed",
    "broken": "DOES NOT WORK",
    "died": "DIES",
    "hung": "HANGS",
}


@click.command()
@click.argument("bundle", type=path_type(), required=False)
@json_option
def doctor(bundle: Path | None, as_json: bool) -> None:
    """Look at this machine: which interpreters work, which files run, how to fix the rest.

    Each interpreter runs a real model in a process of its own, so one that hangs or dies is
    found out too; with a BUNDLE (or a single file) it then runs each of the files. The exit
    status is 0 if something can run.

    \b
    Examples:
      unet-edge doctor
      unet-edge doctor bundle --json
    """
    from unet_edge.doctor.checkup import diagnose

    found = diagnose(bundle, say=say)
    if as_json:
        print_json(found.to_dict())
    else:
        _print(found)
    if not found.ready:
        raise Failure(found.summary)
    if not as_json:
        click.echo(found.summary)


def _print(found: Diagnosis) -> None:
    versions = [f"{name} {version or 'missing'}" for name, version in found.libraries.items()]
    board = found.board
    print_table(
        [
            ("board", board.model or "not a Raspberry Pi"),
            ("system", f"{board.system}, kernel {board.kernel}"),
            ("Python", f"{found.python}, {_architecture(board)}"),
            ("libraries", ", ".join(versions)),
            ("processor", _processor(board)),
            ("int8", found.processor.int8),
            ("memory", _memory(board)),
            ("heat", _heat(board)),
            ("Keras", f"{found.keras}, the reference" if found.keras else "none, nor needed here"),
        ]
    )
    click.echo()
    rows = [(one.package, one.version, _STATES[one.state]) for one in found.interpreters]
    _print_rows(rows, ["interpreter", "version", "here"])
    for one in found.interpreters:
        # What is missing for a file is said below, with the file.
        if one.state != "works" and not (one.state == "absent" and found.files):
            _print_trouble(found.troubles[one.package], found.fixes.get(one.package))
    if found.files:
        click.echo()
        files = [(file.name, file.runs_by or "NOTHING") for file in found.files]
        _print_rows(files, ["file", "run here by"])
        for reason in dict.fromkeys(file.reason for file in found.files if file.reason):
            click.echo(f"{', '.join(f.name for f in found.files if f.reason == reason)}: {reason}")
        for remark in found.remarks:
            click.echo(remark)
        if found.tuning:
            click.echo(found.tuning)
    click.echo()


def _print_trouble(trouble: str, fix: str | None) -> None:
    click.echo(f"{trouble}; run: {fix}" if fix else trouble)


def _print_rows(rows: Sequence[Sequence[str | None]], headers: list[str]) -> None:
    from tabulate import tabulate

    # As text throughout: tabulate would take a version for a number.
    text = tabulate(rows, headers, tablefmt="simple", missingval="-", disable_numparse=True)
    click.echo(text)


def _architecture(board: Board) -> str:
    if board.machine == board.wheels:
        return f"{board.bits} bit ({board.machine})"
    return f"{board.bits} bit ({board.wheels}) on a kernel for {board.machine}"


def _processor(board: Board) -> str:
    features = ", ".join(board.features) or "nothing that speeds up inference"
    return f"{board.processor or 'unknown'}, {board.cores} cores: {features}"


def _memory(board: Board) -> str:
    if board.memory is None or board.available is None:
        return "unknown"
    return f"{board.memory:.0f} MiB, {board.available:.0f} available"


def _heat(board: Board) -> str:
    degrees = "unknown" if board.temperature is None else f"{board.temperature:.0f} °C"
    if board.throttling is None:
        return degrees
    return f"{degrees}, {', '.join(board.throttling) or 'never throttled since boot'}"
