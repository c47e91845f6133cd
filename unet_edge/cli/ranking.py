"""The command that chooses which photos to label next, on any machine, without TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click
from click.core import ParameterSource

from unet_edge.cli.group import Failure, interrupted_without_output, open_model
from unet_edge.cli.options import (
    backend_option,
    file_option,
    json_option,
    path_type,
    threads_option,
)
from unet_edge.cli.output import print_json, print_line, print_note, print_texts
from unet_edge.cli.photo_list import list_photos
from unet_edge.errors import ConfigError
from unet_edge.evaluation.ranking import DEFAULT_MEASURE, Ranking
from unet_edge.evaluation.ranking import rank as rank_photos
from unet_edge.evaluation.ranking_folder import (
    ANNOTATIONS,
    Annotations,
    FolderOptions,
    names_below,
    ranking_table,
    require_ranking_folder,
    write_ranking,
)
from unet_edge.evaluation.uncertainty import Aggregate, Measure, require_measure
from unet_edge.images.listing import absolute_path, distinct
from unet_edge.system.captured_output import native_stderr_discarded
from unet_edge.system.counting import counted
from unet_edge.system.progress import progress

if TYPE_CHECKING:
    from unet_edge.masks.upsampling import Edges
    from unet_edge.runtime.packages import Package

_OF_FOLDER = {
    "annotations": "--annotations",
    "edges": "--edges",
    "copy": "--copy",
    "image_url": "--image-url",
}
"""The options that say what --output holds."""


@click.command()
@click.argument("model", type=path_type())
@click.argument("images", type=path_type(), nargs=-1, required=True)
@click.option(
    "--by",
    "measure",
    type=click.Choice(get_args(Measure)),
    default=DEFAULT_MEASURE,
    show_default=True,
    help="How unsure a pixel is. flips: whether the mirrored photo gets another mask, which takes "
    "twice as long; margin: how close the two best classes are; entropy: of all classes.",
)
@click.option(
    "--score",
    "aggregate",
    type=click.Choice(get_args(Aggregate)),
    default="mean",
    show_default=True,
    help="How pixels become a photo's score: their mean, or the share of those above 0.5.",
)
@click.option(
    "--top",
    type=click.IntRange(1),
    default=25,
    show_default=True,
    help="Number of photos to print, list, draw, copy and annotate.",
)
@click.option(
    "--output",
    "-o",
    type=path_type(),
    metavar="DIR",
    help="Folder for ranking.csv, ranking.json, the contact sheet ranking.png, and list.txt.",
)
@click.option(
    "--annotations",
    type=click.Choice(ANNOTATIONS),
    multiple=True,
    help="Also write the masks as pre-annotations; may be given several times. coco: polygons; "
    "coco-rle and cvat: brush masks; label-studio: tasks with brush masks.",
)
@click.option(
    "--edges",
    type=click.Choice(["nearest", "smooth"]),
    default="nearest",
    show_default=True,
    help="Edges of the pre-annotations, as in segment.",
)
@click.option("--copy", is_flag=True, help="Copy the photos into DIR/photos.")
@click.option(
    "--image-url",
    metavar="URL",
    help="What stands before a photo's name in Label Studio's tasks.  [default: "
    "/data/local-files/?d=FOLDER/]",
)
@file_option
@threads_option("as tuned, without --file and --backend; else all processors, at most four")
@backend_option
@click.option("--csv", "as_csv", is_flag=True, help="Print all photos as CSV, not a table.")
@json_option
def rank(
    model: Path,
    images: Sequence[Path],
    measure: Measure,
    aggregate: Aggregate,
    top: int,
    output: Path | None,
    annotations: tuple[Annotations, ...],
    edges: Edges,
    copy: bool,
    image_url: str | None,
    file: str | None,
    threads: int | None,
    backend: Package | None,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Order unlabelled photos by how unsure MODEL is of them: label the first ones next.

    IMAGES are photos, folders of photos and patterns of photos. MODEL is a bundle, a file or a run.
    Photos that look like one with a higher score come after all others, so that the first photos
    are not frames of one scene. A photo that cannot be read is reported at the end, and the exit
    status is then 1.

    The model fails most on the first photos. While labels are few, photos at random may teach it
    more: see the guide.

    Pre-annotations are the masks of segment, for tools that correct them: import coco.json or
    cvat.xml into CVAT, label-studio.json into Label Studio, whose labelling interface is
    label-studio.xml.

    \b
    Examples:
      unet-edge rank bundle photos/
      unet-edge rank bundle photos/ -o next
      unet-edge rank bundle photos/ -o next --copy --annotations cvat
      unet-edge rank bundle 'photos/**/*.jpg' --by entropy --top 50 -o next --annotations coco
      unet-edge rank runs/cats photos/ --csv > ranking.csv
    """
    _require_fitting(output, as_csv=as_csv, as_json=as_json)
    photos = _photos(images, output)
    if output is not None:
        require_ranking_folder(output)
    segmenter = open_model(model, file, threads, backend)
    require_measure(segmenter, measure)
    if annotations and edges == "smooth":
        segmenter.require_scores()
    with interrupted_without_output(), native_stderr_discarded():  # of image decoders
        ranking = rank_photos(
            segmenter,
            photos,
            measure,
            aggregate,
            lambda results: progress(results, "ranking", len(photos)),
        )
    _require_any(ranking)
    names = names_below([photo.path for photo in ranking.photos])
    report = _report(ranking, names, segmenter.name, segmenter.spec.classes)
    if output is not None:
        options = FolderOptions(top, tuple(dict.fromkeys(annotations)), edges, copy, image_url)
        with interrupted_without_output():
            write_ranking(
                output,
                ranking,
                segmenter,
                report,
                options,
                lambda chosen: progress(chosen, "drawing"),
            )
    if as_json:
        print_json(report | {"output": None if output is None else str(output)})
    elif as_csv:
        click.echo(ranking_table(ranking, names, segmenter.spec.classes), nl=False)
    else:
        _print(ranking, names, segmenter.spec.classes, top, output)
    _require_no_errors(ranking)


def _require_fitting(output: Path | None, *, as_csv: bool, as_json: bool) -> None:
    """Raise ConfigError for options that exclude each other or need --output."""
    if as_csv and as_json:
        raise ConfigError("--csv and --json exclude each other", fix="leave one out")
    if output is not None:
        return
    context = click.get_current_context()
    for name, option in _OF_FOLDER.items():
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise ConfigError(f"{option} is given without a folder", fix="add -o DIR")


def _photos(images: Sequence[Path], output: Path | None) -> list[Path]:
    """The photos, each once, without those that an earlier ranking put into `output`."""
    photos = distinct(list_photos(*images))
    if output is None:
        return photos
    own = Path(absolute_path(output))
    return [photo for photo in photos if own not in Path(absolute_path(photo)).parents]


def _report(
    ranking: Ranking, names: dict[Path, str], model: str, classes: Sequence[str]
) -> dict[str, Any]:
    return {
        "model": model,
        "by": ranking.measure,
        "score": ranking.aggregate,
        "pictures": [
            {
                "rank": number,
                "picture": str(photo.path),
                "name": names[photo.path],
                "score": photo.score,
                "looks_like": photo.looks_like and names[photo.looks_like],
                "shares": dict(zip(classes, photo.shares, strict=True)),
            }
            for number, photo in enumerate(ranking.photos, 1)
        ],
        "errors": [
            {"picture": str(path), "error": str(error)} for path, error in ranking.unreadable
        ],
    }


def _print(
    ranking: Ranking,
    names: dict[Path, str],
    classes: Sequence[str],
    top: int,
    output: Path | None,
) -> None:
    shown = ranking.photos[:top]
    with_repeats = any(photo.looks_like for photo in shown)
    rows = [
        (
            str(number),
            names[photo.path],
            f"{photo.score:.4f}",
            *(f"{share:.1%}" for share in photo.shares),
            *([names[photo.looks_like] if photo.looks_like else ""] if with_repeats else []),
        )
        for number, photo in enumerate(shown, 1)
    ]
    headers = ["", "picture", ranking.measure, *classes, *(["looks like"] if with_repeats else [])]
    print_texts(rows, headers)
    if len(ranking.photos) > top:
        print_line(f"the first {top} of {counted(len(ranking.photos), 'picture')}")
    if repeats := sum(photo.looks_like is not None for photo in ranking.photos):
        print_line(f"{counted(repeats, 'picture')} after all others: each looks like a better one")
    if output is not None:
        print_line(f"written to {output}; look at {output / 'ranking.png'}")


def _require_any(ranking: Ranking) -> None:
    if not ranking.photos:
        _require_no_errors(ranking)


def _require_no_errors(ranking: Ranking) -> None:
    """Print the errors of pictures, and raise Failure if there are any."""
    for _, error in ranking.unreadable:
        print_note(f"error: {error}")
    if count := len(ranking.unreadable):
        total = count + len(ranking.photos)
        raise Failure(f"{count} of {counted(total, 'picture')} could not be read")
