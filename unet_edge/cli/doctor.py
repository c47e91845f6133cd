"""The command that checks a machine, without TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unet_edge.cli.group import Failure
from unet_edge.cli.options import json_option, path_type
from unet_edge.cli.output import print_json, print_note, print_table

if TYPE_CHECKING:
    from unet_edge.doctor.checkup import Checkup
    from unet_edge.errors import BackendError
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
    """Check which interpreters and files work on this machine, and how to fix the others.

    Each interpreter runs a real model in a process of its own, so that a crash or a hang is
    noticed. With a BUNDLE or a single file, it then runs each file. The exit status is 0 if
    something can run.

    \b
    Examples:
      unet-edge doctor
      unet-edge doctor bundle --json
    """
    from unet_edge.doctor.checkup import check_machine

    checkup = check_machine(bundle, say=print_note)
    if as_json:
        print_json(checkup.to_dict())
    else:
        _print(checkup)
    if not checkup.ready:
        advice = "; the lines above say why" if checkup.files and not as_json else ""
        raise Failure(checkup.summary + advice)
    if not as_json:
        click.echo(checkup.summary)


def _print(checkup: Checkup) -> None:
    _print_machine(checkup)
    click.echo()
    _print_interpreters(checkup)
    if checkup.files:
        click.echo()
        _print_files(checkup)
    click.echo()


def _print_machine(checkup: Checkup) -> None:
    versions = [f"{name} {version or 'missing'}" for name, version in checkup.libraries.items()]
    board = checkup.board
    print_table(
        [
            ("board", board.model or "not a Raspberry Pi"),
            ("system", f"{board.system}, kernel {board.kernel}"),
            ("Python", f"{checkup.python}, {_architecture(board)}"),
            ("libraries", ", ".join(versions)),
            ("processor", _processor(board)),
            ("int8", checkup.processor.int8),
            ("memory", _memory(board)),
            ("heat", _heat(board)),
            (
                "Keras",
                f"{checkup.keras}, the reference" if checkup.keras else "not needed here",
            ),
        ]
    )


def _print_interpreters(checkup: Checkup) -> None:
    rows = [
        (attempt.package, attempt.version, _STATES[attempt.state])
        for attempt in checkup.interpreters
    ]
    _print_rows(rows, ["interpreter", "version", "here"])
    for attempt in checkup.interpreters:
        # An interpreter that is missing for a file is reported below, with the file.
        if attempt.state == "works" or (attempt.state == "absent" and checkup.files):
            continue
        trouble, fix = checkup.troubles[attempt.package], checkup.fixes.get(attempt.package)
        click.echo(f"{trouble}; run: {fix}" if fix else trouble)


def _print_files(checkup: Checkup) -> None:
    from unet_edge.runtime.interpreter_problems import not_run_lines

    optional = _optional(checkup)
    files = [
        (
            file.name,
            file.runs_by or ("no interpreter (optional)" if file.name in optional else "NOTHING"),
        )
        for file in checkup.files
    ]
    _print_rows(files, ["file", "run here by"])
    for reason in dict.fromkeys(file.reason for file in checkup.files if file.reason):
        names = [file.name for file in checkup.files if file.reason == reason]
        if names[0] not in optional:
            click.echo(f"{', '.join(names)}: {reason}")
    for line in not_run_lines(optional):
        click.echo(line)
    for remark in checkup.remarks:
        click.echo(remark)
    if checkup.tuning:
        click.echo(checkup.tuning)


def _optional(checkup: Checkup) -> dict[str, BackendError]:
    """The files that no installed interpreter reads, if other files run here."""
    from unet_edge.runtime.interpreter_problems import NoInterpreterError
    from unet_edge.runtime.packages import PACKAGES

    optional: dict[str, BackendError] = {}
    if not checkup.ready:
        return optional
    for file_format, packages in PACKAGES.items():
        attempts = [each for each in checkup.interpreters if each.package in packages]
        error = NoInterpreterError(file_format, attempts)
        if error.none_installed:
            # A damaged file has another reason.
            names = [file.name for file in checkup.files if file.reason == str(error)]
            optional |= dict.fromkeys(names, error)
    return optional


def _print_rows(rows: Sequence[Sequence[str | None]], headers: list[str]) -> None:
    from tabulate import tabulate

    # Without disable_numparse, tabulate would format a version as a number.
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
