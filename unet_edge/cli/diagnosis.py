"""The command that shows where and why a file's masks differ from the float model's."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unet_edge.bundle.bundle import Bundle
from unet_edge.bundle.bundle_file import BundleFile
from unet_edge.cli.group import open_model
from unet_edge.cli.options import json_option, path_type
from unet_edge.cli.output import echo, print_json, print_table, print_texts, say
from unet_edge.dataset import list_pictures
from unet_edge.errors import BackendError, ConfigError
from unet_edge.images.decoding import grid_of
from unet_edge.masks.mask import save_png
from unet_edge.percent import percent
from unet_edge.system.atomic_folders import folder_written_atomically
from unet_edge.system.csv_table import csv_text
from unet_edge.system.files import json_text, require_writable_path, write_atomically
from unet_edge.system.progress import progress

if TYPE_CHECKING:
    from unet_edge.evaluation.diagnosis import Diagnosis
    from unet_edge.evaluation.layer_errors import LayerError

_REFERENCE = "float32"
_LAYER_PICTURES = 8  # every tensor of both files is compared, without XNNPACK


@click.command()
@click.argument("bundle", type=path_type())
@click.option(
    "--file",
    metavar="NAME",
    help="Which file to look at.  [default: the bundle's first quantised one]",
)
@click.option(
    "--images", type=path_type(), help="Photos to look at.  [default: the golden pictures]"
)
@click.option(
    "--output",
    "-o",
    type=path_type(),
    help="A new folder for heat maps of the worst pictures, layers.csv and report.json.",
)
@click.option("--worst", type=click.IntRange(1), default=4, show_default=True)
@json_option
def diagnose(
    bundle: Path,
    file: str | None,
    images: Path | None,
    output: Path | None,
    worst: int,
    as_json: bool,
) -> None:
    """Show where a file of a BUNDLE flips labels of the float32 file, and which layers err.

    Flipped pixels are counted at near ties (the float model's two likeliest classes less than 0.1
    apart in probability) and elsewhere, where something is wrong; within the boundary tolerance
    of a border and outside. Then the error of every tensor: signal-to-noise ratio in dB and
    cosine. Errors add up, so look for where the ratio falls.

    \b
    Examples:
      unet-edge diagnose runs/cats/bundle
      unet-edge diagnose runs/cats/bundle --file model-int8.onnx --images photos -o diagnosis
    """
    from unet_edge.evaluation.diagnosis import diagnose as diagnosed
    from unet_edge.evaluation.layer_errors import layer_errors

    opened = Bundle.open(bundle)
    if output is not None:
        require_writable_path(output)
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise ConfigError(
                f"{output} exists",
                fix="choose another --output or remove it",
            )
    candidate = opened.file(file) if file else _first_quantised(opened)
    if candidate.precision == _REFERENCE:
        raise ConfigError(
            f"{candidate.name} is a float32 file itself",
            fix="name another with --file",
        )
    floats = [entry for entry in opened.files if entry.precision == _REFERENCE]
    # Tensors can be compared within one format only.
    floats.sort(key=lambda entry: entry.format != candidate.format)
    if not floats:
        raise ConfigError(
            f"{bundle} has no float32 file to hold {candidate.name} against",
            fix=(
                "export it too: unet-edge export RUN --formats "
                f"{candidate.format}-float32,{candidate.format}-{candidate.precision}"
            ),
        )
    if images is None:
        photos = [bundle / golden.picture for golden in opened.golden]
    else:
        photos = list_pictures(images)
    reference = open_model(bundle, floats[0].name)
    segmenter = open_model(bundle, candidate.name)
    sources = {photo.name: photo for photo in photos}
    if len(sources) < len(photos):
        sources = {str(photo): photo for photo in photos}
    found = diagnosed(
        reference, segmenter, progress(list(sources.items()), f"diagnosing {candidate.name}")
    )
    layers: tuple[LayerError, ...] = ()
    if candidate.format == floats[0].format:
        # Spread, as neighbours in a folder often look alike.
        step = -(-len(photos) // _LAYER_PICTURES)
        grids = [grid_of(photo, opened.spec) for photo in photos[::step]]
        try:
            layers = layer_errors(
                opened.read(floats[0]),
                opened.read(candidate),
                candidate.format,
                progress(grids, "error of each layer"),
            )
        except BackendError as error:  # another interpreter made the masks
            say(str(error))
    report = _report(found, layers)
    if output is not None:
        from unet_edge.evaluation.diagnosis import heat_map

        with folder_written_atomically(output.absolute()) as folder:
            write_atomically(folder / "report.json", json_text(report))
            if layers:
                write_atomically(folder / "layers.csv", _layers_table(layers))
            for rank, picture in enumerate(found.worst_first[:worst], 1):
                sheet = heat_map(reference, segmenter, sources[picture.name], picture.name)
                save_png(sheet, folder / f"{rank:02d}-{Path(picture.name).stem[:60]}.png")
    if as_json:
        print_json(report)
        return
    _print(found, layers)
    if output is not None:
        echo(f"heat maps of the worst pictures in {output}")


def _first_quantised(bundle: Bundle) -> BundleFile:
    quantised = [e for e in bundle.files if e.precision not in (_REFERENCE, "float16")]
    if not quantised:
        raise ConfigError(
            f"{bundle.path} has no quantised file",
            fix="name one with --file",
        )
    return quantised[0]


def _report(found: Diagnosis, layers: tuple[LayerError, ...]) -> dict[str, Any]:
    return {
        "file": found.candidate,
        "reference": found.reference,
        **found.figures(),
        "pictures": [dataclasses.asdict(picture) for picture in found.worst_first],
        "layers": [dataclasses.asdict(layer) for layer in layers],
    }


def _layers_table(layers: tuple[LayerError, ...]) -> str:
    return csv_text(
        ["tensor", "dtype", "sqnr_db", "cosine"], (dataclasses.astuple(layer) for layer in layers)
    )


def _print(found: Diagnosis, layers: tuple[LayerError, ...]) -> None:
    figures = found.figures()
    click.echo(
        f"{found.candidate} against {found.reference}, {len(found.pictures)} pictures: "
        f"{figures['flipped']} of {figures['pixels']} pixels flipped, "
        f"{figures['confident_flips']} of them confident"
    )
    click.echo()
    where = (
        ("everywhere", 1.0, figures["agreement"]),
        ("near ties", figures["near_tie_share"], figures["agreement_at_near_ties"]),
        ("elsewhere", 1 - figures["near_tie_share"], figures["agreement_elsewhere"]),
        ("near a border", figures["band_share"], figures["agreement_inside_band"]),
        ("away from it", 1 - figures["band_share"], figures["agreement_outside_band"]),
    )
    print_table(
        [(place, f"{share:.2%}", f"{percent(agreement)} %") for place, share, agreement in where],
        ["pixels", "share", "same label"],
    )
    click.echo()
    print_table(
        [
            (p.name, p.flipped, p.flipped - p.flipped_near_ties, f"{p.largest_shift:.3f}")
            for p in found.worst_first[:5]
        ],
        ["worst pictures", "flipped", "confident", "largest shift"],
    )
    if layers:
        click.echo()
        rows = [(e.tensor, e.dtype, f"{e.sqnr_db:.1f}", f"{e.cosine:.5f}") for e in layers]
        print_texts(rows, ["tensor", "", "SQNR dB", "cosine"])
