"""The command that shows where and why a file's masks differ from the float model's."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unet_edge.bundle.bundle import Bundle
from unet_edge.bundle.bundle_file import BundleFile
from unet_edge.cli.group import open_model
from unet_edge.cli.options import json_option, path_type
from unet_edge.cli.output import print_json, print_line, print_note, print_table, print_texts
from unet_edge.cli.photo_list import list_photos
from unet_edge.errors import BackendError, ConfigError
from unet_edge.images.decoding import grid_of
from unet_edge.masks.mask import save_png
from unet_edge.percent import percent
from unet_edge.system.atomic_folders import folder_written_atomically
from unet_edge.system.counting import counted
from unet_edge.system.csv_table import csv_text
from unet_edge.system.files import json_text, require_writable_path, write_atomically
from unet_edge.system.progress import progress

if TYPE_CHECKING:
    from unet_edge.evaluation.diagnosis import Diagnosis
    from unet_edge.evaluation.layer_errors import LayerError

_REFERENCE = "float32"
_LAYER_PICTURES = 8  # layer errors are slow: every tensor of both files is kept, without XNNPACK


@click.command()
@click.argument("bundle", type=path_type())
@click.option(
    "--file",
    metavar="NAME",
    help="File to diagnose.  [default: the bundle's first quantised file]",
)
@click.option("--images", type=path_type(), help="Photos to use.  [default: the golden pictures]")
@click.option(
    "--output",
    "-o",
    type=path_type(),
    help="New folder for heat maps of the worst pictures, layers.csv and report.json.",
)
@click.option(
    "--worst",
    type=click.IntRange(1),
    default=4,
    show_default=True,
    help="Number of heat maps in --output.",
)
@json_option
def diagnose(
    bundle: Path,
    file: str | None,
    images: Path | None,
    output: Path | None,
    worst: int,
    as_json: bool,
) -> None:
    """Show where and why a file of a BUNDLE differs from its float32 file.

    A pixel is flipped if its label differs from the float32 file's. At a near tie the two likeliest
    classes are less than 0.1 apart in probability: a flip there is rounding noise, a flip elsewhere
    is an error. Flips are also counted within the boundary tolerance of a border between
    classes, and away from it.

    The error of each tensor follows, as signal-to-noise ratio in dB and as cosine. Errors
    accumulate, so look for the tensor where the ratio falls.

    \b
    Examples:
      unet-edge diagnose runs/cats/bundle
      unet-edge diagnose runs/cats/bundle --file model-int8.onnx --images photos -o diagnosis
    """
    from unet_edge.evaluation.diagnosis import diagnose as compare
    from unet_edge.evaluation.diagnosis import heat_map

    opened = Bundle.open(bundle)
    if output is not None:
        _require_new_folder(output)
    candidate = _candidate(opened, file)
    float_file = _float_file(opened, candidate)
    if images is None:
        photos = [bundle / golden.picture for golden in opened.golden]
    else:
        photos = list_photos(images)
    sources = {photo.name: photo for photo in photos}
    if len(sources) < len(photos):  # photos of one name in several folders
        sources = {str(photo): photo for photo in photos}
    reference = open_model(bundle, float_file.name)
    segmenter = open_model(bundle, candidate.name)
    shown = progress(list(sources.items()), f"diagnosing {candidate.name}")
    diagnosis = compare(reference, segmenter, shown)
    layers = _layer_errors(opened, float_file, candidate, photos)
    report = _report(diagnosis, layers)
    if output is not None:
        with folder_written_atomically(output.absolute()) as folder:
            write_atomically(folder / "report.json", json_text(report))
            if layers:
                write_atomically(folder / "layers.csv", _layers_table(layers))
            for rank, picture in enumerate(diagnosis.worst_first[:worst], 1):
                sheet = heat_map(reference, segmenter, sources[picture.name], picture.name)
                save_png(sheet, folder / f"{rank:02d}-{Path(picture.name).stem[:60]}.png")
    if as_json:
        print_json(report)
        return
    _print(diagnosis, layers)
    if output is not None:
        print_line(f"heat maps of the worst pictures are in {output}")


def _require_new_folder(output: Path) -> None:
    """Raise ConfigError if `output` holds anything, OutputError if it cannot be written."""
    require_writable_path(output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(f"{output} exists", fix="choose another --output or remove it")


def _candidate(bundle: Bundle, file: str | None) -> BundleFile:
    """The file to diagnose. Raises ConfigError if there is none, or if it is a float32 file."""
    candidate = bundle.file(file) if file else _first_quantised(bundle)
    if candidate.precision == _REFERENCE:
        raise ConfigError(
            f"{candidate.name} is a float32 file itself",
            fix="name another file with --file",
        )
    return candidate


def _first_quantised(bundle: Bundle) -> BundleFile:
    quantised = [e for e in bundle.files if e.precision not in (_REFERENCE, "float16")]
    if not quantised:
        raise ConfigError(
            f"{bundle.path} has no quantised file",
            fix="name a file with --file",
        )
    return quantised[0]


def _float_file(bundle: Bundle, candidate: BundleFile) -> BundleFile:
    """The float32 file to compare with, in the candidate's format if there is one.

    Raises ConfigError if there is no float32 file.
    """
    float_files = [entry for entry in bundle.files if entry.precision == _REFERENCE]
    if not float_files:
        raise ConfigError(
            f"{bundle.path} has no float32 file to compare {candidate.name} with",
            fix=(
                "run: unet-edge export RUN --formats "
                f"{candidate.format}-float32,{candidate.format}-{candidate.precision}"
            ),
        )
    return min(float_files, key=lambda entry: entry.format != candidate.format)


def _layer_errors(
    bundle: Bundle, float_file: BundleFile, candidate: BundleFile, photos: Sequence[Path]
) -> tuple[LayerError, ...]:
    """The error of each tensor; none for files of two formats or without their interpreter."""
    from unet_edge.evaluation.layer_errors import layer_errors

    if float_file.format != candidate.format:
        return ()
    # Every n-th photo, because neighbours in a folder often look alike.
    step = -(-len(photos) // _LAYER_PICTURES)
    grids = [grid_of(photo, bundle.spec) for photo in photos[::step]]
    try:
        return layer_errors(
            bundle.read(float_file),
            bundle.read(candidate),
            candidate.format,
            progress(grids, "error of each layer"),
        )
    except BackendError as error:  # the masks came from another interpreter
        print_note(str(error))
        return ()


def _report(diagnosis: Diagnosis, layers: tuple[LayerError, ...]) -> dict[str, Any]:
    return {
        "file": diagnosis.candidate,
        "reference": diagnosis.reference,
        **diagnosis.figures(),
        "pictures": [dataclasses.asdict(picture) for picture in diagnosis.worst_first],
        "layers": [dataclasses.asdict(layer) for layer in layers],
    }


def _layers_table(layers: tuple[LayerError, ...]) -> str:
    return csv_text(
        ["tensor", "dtype", "sqnr_db", "cosine"], (dataclasses.astuple(layer) for layer in layers)
    )


def _print(diagnosis: Diagnosis, layers: tuple[LayerError, ...]) -> None:
    figures = diagnosis.figures()
    click.echo(
        f"{diagnosis.candidate} against {diagnosis.reference}, "
        f"{counted(len(diagnosis.pictures), 'picture')}: "
        f"{figures['flipped']} of {figures['pixels']} pixels flipped, "
        f"{figures['confident_flips']} of them confident"
    )
    click.echo()
    areas = (
        ("everywhere", 1.0, figures["agreement"]),
        ("near ties", figures["near_tie_share"], figures["agreement_at_near_ties"]),
        ("elsewhere", 1 - figures["near_tie_share"], figures["agreement_elsewhere"]),
        ("near borders", figures["band_share"], figures["agreement_inside_band"]),
        ("away from borders", 1 - figures["band_share"], figures["agreement_outside_band"]),
    )
    print_table(
        [(area, f"{share:.2%}", f"{percent(agreement)} %") for area, share, agreement in areas],
        ["pixels", "share", "same label"],
    )
    click.echo()
    print_table(
        [
            (p.name, p.flipped, p.flipped - p.flipped_near_ties, f"{p.largest_shift:.3f}")
            for p in diagnosis.worst_first[:5]
        ],
        ["worst pictures", "flipped", "confident", "largest shift"],
    )
    if layers:
        click.echo()
        rows = [(e.tensor, e.dtype, f"{e.sqnr_db:.1f}", f"{e.cosine:.5f}") for e in layers]
        print_texts(rows, ["tensor", "", "SQNR dB", "cosine"])
