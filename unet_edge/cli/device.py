"""The command that segments pictures, on any machine. No TensorFlow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from unet_edge.cli.group import Failure, open_model
from unet_edge.cli.options import (
    Names,
    file_option,
    json_option,
    path_type,
    threads_option,
)
from unet_edge.cli.output import print_json, print_table
from unet_edge.errors import ConfigError, UnetEdgeError
from unet_edge.files import require_place
from unet_edge.imaging import decode
from unet_edge.pictures import list_pictures
from unet_edge.progress import progress

# zlib's level for overlays. Five photos of 640 px took 26 to 35 ms of an x86 core, against 65 to
# 151 at the default, 6; the files have 94 to 106 % of the size.
_EFFORT = 2


@click.command()
@click.argument("model", type=path_type())
@click.argument("images", type=path_type(), nargs=-1, required=True)
@click.option("--output", "-o", type=path_type(), default=Path("masks"), show_default=True)
@click.option(
    "--save",
    type=Names(),
    default="palette,overlay",
    show_default=True,
    help="What to write: index, palette, overlay.",
)
@file_option
@threads_option
@json_option
def segment(
    model: Path,
    images: Sequence[Path],
    output: Path,
    save: tuple[str, ...],
    file: str | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Segment photos, or folders of photos, with MODEL (bundle, file or run).

    A mask holds the class of each pixel at the photo's own size; palette masks add colours.
    A picture that cannot be read is reported and skipped; the exit status is then 1.

    \b
    Examples:
      unet-edge segment bundle photo.jpg
      unet-edge segment bundle photos/ -o masks --save index --json
    """
    from unet_edge.mask import save_png

    unknown = set(save) - {"index", "palette", "overlay"}
    if unknown or not save:
        raise ConfigError(f"--save {','.join(save)}: choose from index, palette, overlay")
    pictures = [picture for path in images for picture in list_pictures(path)]
    require_place(output / "mask.png")
    segmenter = open_model(model, file, threads)
    report: list[dict[str, Any]] = []
    failed = 0
    names = _output_names(pictures)
    for picture, name in progress(list(zip(pictures, names, strict=True)), "segmenting"):
        try:
            photo = decode(picture)
            mask = segmenter.segment(photo)
            if "overlay" in save:
                save_png(mask.overlay(photo), output / f"{name}.overlay.png", effort=_EFFORT)
        except UnetEdgeError as error:
            click.echo(f"error: {error}", err=True)
            report.append({"picture": str(picture), "error": str(error)})
            failed += 1
            continue
        if "index" in save:
            mask.save(output / f"{name}.index.png", "index")
        if "palette" in save:
            mask.save(output / f"{name}.mask.png", "palette")
        report.append({"picture": str(picture), "coverage": mask.coverage()})
    if as_json:
        print_json({"model": segmenter.name, "output": str(output), "pictures": report})
    else:
        done = [entry for entry in report if "coverage" in entry]
        shares = [[Path(e["picture"]).name, *e["coverage"].values()] for e in done]
        print_table(shares, ["picture", *segmenter.spec.classes], ".1%")
        click.echo(f"{len(done)} of {len(report)} pictures in {output}, by {segmenter.name}")
    if failed:
        raise Failure(f"{failed} of {len(report)} pictures could not be segmented")


def _output_names(pictures: Sequence[Path]) -> list[str]:
    """Each picture's name: its stem, with suffix or a number where two would meet."""
    stems = Counter(picture.stem for picture in pictures)
    names: list[str] = []
    taken: set[str] = set()
    for picture in pictures:
        base = picture.stem if stems[picture.stem] == 1 else picture.name
        name, number = base, 2
        while name in taken:
            name, number = f"{base}-{number}", number + 1
        taken.add(name)
        names.append(name)
    return names
