"""The command that proves a bundle on this machine, without TensorFlow."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unet_edge.bundle.bundle import IMPROVE, Bundle
from unet_edge.cli.group import Failure, open_model
from unet_edge.cli.options import (
    backend_option,
    file_option,
    json_option,
    path_type,
    threads_option,
)
from unet_edge.cli.output import print_json, print_line, print_note, print_table
from unet_edge.cli.photo_list import list_photos
from unet_edge.errors import BackendError, ConfigError
from unet_edge.percent import percent
from unet_edge.system.board import read_processor
from unet_edge.system.counting import counted
from unet_edge.system.printable import printable
from unet_edge.system.progress import progress

if TYPE_CHECKING:
    from unet_edge.evaluation.verification import ReferenceMask, Verification
    from unet_edge.runtime.packages import Package
    from unet_edge.runtime.segmenter import Segmenter


@click.command()
@click.argument("bundle", type=path_type())
@file_option
@click.option(
    "--images",
    type=path_type(),
    multiple=True,
    help="Photos to compare on: a file or folder, repeatable.  [default: the golden pictures]",
)
@click.option(
    "--against",
    type=path_type(),
    help="With --images: the reference, a run or a file.  [default: the bundle's float32 file]",
)
@threads_option()
@backend_option
@json_option
def verify(
    bundle: Path,
    file: str | None,
    images: Sequence[Path],
    against: Path | None,
    threads: int | None,
    backend: Package | None,
    as_json: bool,
) -> None:
    """Prove on this machine that a BUNDLE's files give the reference's masks.

    The golden pictures carry the masks of the Keras model, so no TensorFlow is needed. Files
    without an installed interpreter are listed and skipped; with --file that is an error. The exit
    status is 1 if a file is below its agreement floor.

    \b
    Examples:
      unet-edge verify bundle
      unet-edge verify bundle --images photos/ --against runs/cats
    """
    from unet_edge.evaluation.verification import verify as compare
    from unet_edge.runtime.bundle_opening import readable

    opened = Bundle.open(bundle)
    if against and not images:
        raise ConfigError(
            "--against is given without --images: golden pictures carry Keras' masks already",
            fix="add --images",
        )
    references, reference = _references(opened, images, against, threads)
    results: list[Verification] = []
    not_run: dict[str, BackendError] = {}
    for entry in [opened.file(file)] if file else readable(opened.path, opened.files, backend):
        try:
            segmenter = open_model(bundle, entry.name, threads, backend)
        except BackendError as error:
            if file:
                raise
            not_run[entry.name] = error
            continue
        shown = progress(references, f"verifying {entry.name}")
        floor = entry.floor if images else entry.golden_floor
        results.append(compare(segmenter, shown, floor=floor))
    if not results:
        raise BackendError("; ".join(dict.fromkeys(map(str, not_run.values()))))
    if as_json:
        print_json(
            {
                "files": [result.to_dict() for result in results],
                "not_run": {name: str(error) for name, error in not_run.items()},
                "reference": reference,
                "processor": asdict(read_processor()),
            }
        )
    else:
        _print_verification(opened, results, not_run, reference)
    failures = [result for result in results if not result.passed]
    if failures:
        _explain(opened, failures)
        all_tried = file is None and backend is None
        raise Failure("\n".join(_next_steps(opened, results, all_tried=all_tried)))


def _references(
    bundle: Bundle, images: Sequence[Path], against: Path | None, threads: int | None
) -> tuple[Sequence[ReferenceMask], dict[str, str] | None]:
    """The masks to compare with, and the file and interpreter that gave them.

    Without `images`, these are the golden pictures' masks, which Keras gave at the export: None.
    """
    from unet_edge.evaluation.verification import golden_references

    if not images:
        return list(golden_references(bundle)), None
    reference = _open_reference(bundle, against, threads)
    masks = _reference_masks(images, reference)
    return masks, {"file": reference.name, "backend": reference.backend.name}


def _print_verification(
    bundle: Bundle,
    results: Sequence[Verification],
    not_run: dict[str, BackendError],
    reference: dict[str, str] | None,
) -> None:
    rows = [
        (
            result.name,
            f"{percent(result.agreement)} %",
            f"{percent(result.floor)} %",
            f"{result.mask_miou:.4f}",
            f"{percent(result.worst)} %",
            "ok" if result.passed else "FAILED",
            result.backend,
        )
        for result in results
    ]
    print_table(rows, ["file", "pixels equal", "floor", "mask mIoU", "worst picture", "", "run by"])
    if not_run:
        from unet_edge.runtime.interpreter_problems import not_run_lines

        for line in not_run_lines(not_run):
            print_line(line)
    if reference is not None:
        click.echo("reference: {file} run by {backend}".format(**reference))
    pixels = results[0].against_reference.pixels
    click.echo(
        f"{counted(results[0].pictures, 'picture')}, {counted(pixels, 'pixel')}, "
        f"on {read_processor()}"
    )
    if any(result.floor < bundle.file(result.name).floor for result in results):
        click.echo(
            "Golden pictures are harder, so their floor is lower, by the gap measured at export."
        )


def _explain(bundle: Bundle, failures: Sequence[Verification]) -> None:
    """Print the agreement of each failed file here and at its export."""
    here = read_processor()
    for failed in failures:
        entry = bundle.file(failed.name)
        golden = entry.golden_agreement
        exported = entry.agreement if golden is None else golden
        print_note(
            f"{failed.name}: {percent(failed.agreement)} % of pixels as Keras with "
            f"{failed.backend} on {here}; {percent(exported)} % at export with "
            f"{entry.measured_by} on {bundle.processor}"
        )
    if bundle.measured_elsewhere():
        print_note(
            "a file may reach its floor on one kind of processor and miss it on another: use "
            "another file here, or export again with this version"
        )


def _next_steps(bundle: Bundle, results: Sequence[Verification], *, all_tried: bool) -> list[str]:
    """Lines that name the failed files and say what to do."""
    failed = [result.name for result in results if not result.passed]
    passed = [result.name for result in results if result.passed]
    lines = [f"below the floor: {', '.join(failed)}"]
    if passed:
        lines.append(f"usable here: {', '.join(passed)}; choose one with --file")
    elif not all_tried and len(results) < len(bundle.files):
        command = shlex.join(["unet-edge", "verify", str(bundle.path)])
        lines.append(f"to check the other files: {command}")
    return [printable(line) for line in [*lines, f"for a better file: {IMPROVE}"]]


def _open_reference(bundle: Bundle, against: Path | None, threads: int | None) -> Segmenter:
    """Open the reference for photos: `against`, or the bundle's float32 file.

    Raises ConfigError if the reference is another model.
    """
    from unet_edge.runtime.bundle_opening import float32_file

    if against is None:
        name = float32_file(bundle, "name a reference with --against")
        reference = open_model(bundle.path, name, threads)
        print_note(f"compared with {name}; --against RUN compares with Keras")
    else:
        reference = open_model(against, None, threads)
    # A run gives scores even if its files give labels; the masks are the same.
    if replace(reference.spec, output=bundle.spec.output) != bundle.spec:
        raise ConfigError(
            f"{against} is another model than {bundle.path}: their contracts differ",
            fix="name the run that the bundle was exported from",
        )
    return reference


def _reference_masks(images: Sequence[Path], reference: Segmenter) -> list[ReferenceMask]:
    """The reference's masks of the photos."""
    from unet_edge.evaluation.verification import ReferenceMask

    pictures = list_photos(*images)
    return [
        ReferenceMask(picture.name, picture, reference.segment(picture).labels)
        for picture in progress(pictures, f"reference {reference.name}")
    ]
