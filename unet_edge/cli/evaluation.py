"""The command that scores a model against true masks, without TensorFlow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from unet_edge.bundle.bundle import Bundle
from unet_edge.cli.evaluation_tables import print_evaluation, print_files
from unet_edge.cli.group import open_model
from unet_edge.cli.options import file_option, json_option, path_type, threads_option
from unet_edge.cli.output import print_json, print_line, print_note
from unet_edge.cli.run_data import is_own_data, run_settings, run_split
from unet_edge.cli.settings import run_data_options
from unet_edge.dataset import Dataset, Sample, find_dataset
from unet_edge.dataset.pairs import TEST_NAMES
from unet_edge.dataset.split import existing_list
from unet_edge.dataset.split_file import SplitNames
from unet_edge.errors import BackendError, ConfigError, DataError
from unet_edge.runtime.bundle_opening import float32_file
from unet_edge.runtime.segmenter import BUNDLE_FOLDER, KERAS_MODEL
from unet_edge.system.counting import first_names
from unet_edge.system.progress import progress

if TYPE_CHECKING:
    from unet_edge.runtime.segmenter import Segmenter


@click.command()
@click.argument("model", type=path_type())
@click.option("--data", type=path_type(), required=True, help="Pictures with masks, as for train.")
@run_data_options
@click.option(
    "--split",
    type=click.Choice(["validation", "train", "test", "all"]),
    default="validation",
    show_default=True,
    help="Pictures to score. Test pictures neither trained the model nor chose its best round.",
)
@click.option(
    "--output",
    "-o",
    type=path_type(),
    metavar="DIR",
    help="Folder for report.json, pictures.csv, confusion.csv, confusion.png and worst/.",
)
@click.option(
    "--worst",
    type=click.IntRange(0),
    default=8,
    show_default=True,
    help="Number of the worst pictures to draw into --output.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(0),
    metavar="PX",
    help="Largest distance of matching boundary pixels.  "
    "[default: 0.75 % of the picture's diagonal]",
)
@file_option
@click.option(
    "--all-files",
    is_flag=True,
    help="Compare every file of the bundle with the Keras model of a run, or with the float32 file "
    "of a bundle: equal pixels, mIoU, points lost.",
)
@threads_option("as tuned, without --file and --all-files; else all processors, at most four")
@json_option
def evaluate(
    model: Path,
    data: Path,
    split: str,
    output: Path | None,
    worst: int,
    tolerance: float | None,
    file: str | None,
    all_files: bool,
    threads: int | None,
    as_json: bool,
    **rules: Any,
) -> None:
    """Score MODEL against the true masks of a data set.

    MODEL is a bundle, a file or a run. If it is a run or belongs to one, masks are read as the run
    read them. The classes of the masks have the order of the model's classes.

    Figures count all pixels of all pictures, at the pictures' own size. A region is a set of pixels
    of one class that are connected by their edges. It is found if a predicted region overlaps it
    with an IoU above 0.5, else missed. It is touched if at least one of its pixels is predicted. A
    predicted region is false if it matches no true region.

    \b
    Examples:
      unet-edge evaluate runs/cats --data cats
      unet-edge evaluate runs/cats --data cats -o runs/cats/evaluation
      unet-edge evaluate runs/cats --data cats --split test
      unet-edge evaluate runs/cats --data cats --split test --all-files
      unet-edge evaluate runs/cats/bundle --file model-int8.tflite --data cats --json
    """
    from unet_edge.evaluation.evaluation import evaluate as score
    from unet_edge.evaluation.evaluation_folder import require_evaluation_folder, write_evaluation

    if all_files:
        _require_alone(file, output, worst)
        _evaluate_files(model, data, split, tolerance, threads, as_json, rules)
        return
    if output is not None:
        require_evaluation_folder(output)
    segmenter = open_model(model, file, threads)
    dataset, samples = _read_data(model, data, segmenter.spec.classes, split, rules)
    result = score(segmenter, dataset, progress(samples, "evaluating"), tolerance=tolerance)
    for doubt in result.doubts:
        print_note(f"WARNING: {doubt}")
    report = {
        "data": str(data),
        "split": split,
        "masks": str(dataset.rule),
        "boundary_tolerance_px": tolerance,
        **result.to_dict(),
    }
    if output is not None:
        write_evaluation(output, result, report, segmenter, dataset, samples, worst=worst)
    if as_json:
        print_json(report)
        return
    print_evaluation(result, split, dataset.rule)
    if output is not None:
        print_line(f"written to {output}" + (f"; look at {output / 'worst'}" if worst else ""))


def _read_data(
    model: Path, data: Path, classes: tuple[str, ...], split: str, rules: dict[str, Any]
) -> tuple[Dataset, Sequence[Sample]]:
    """Read the data set as the run read its own, and return it with the pictures of a split.

    Options of the command line go before the run's. Raises DataError for a split without pictures.
    """
    given = {name: value for name, value in rules.items() if value is not None}
    settings = rules | run_settings(model, data) | given
    lists_given = any(name.endswith("_list") for name in given)
    own_data = is_own_data(model, data)
    try:
        split_of_run = run_split(model)
    except DataError as error:
        if own_data:
            raise
        split_of_run = None
        print_note(f"WARNING: {error}; pictures that the run trained on are not recognised")
    own_split = split_of_run if own_data else None
    dataset = find_dataset(
        data,
        classes=classes,
        split=None if lists_given else own_split,
        progress=progress,
        fixed_classes=True,  # the model's
        **settings,
    )
    names = ", ".join(f"{index} {name}" for index, name in enumerate(classes))
    for note in (*dataset.notes, f"classes, as the model counts them: {names}"):
        print_note(note)
    samples = dataset.splits.get(split, ())
    if split == "all":
        samples = tuple(sample for part in dataset.splits.values() for sample in part)
    if not samples:
        if split == "test" and (listed := given.get("test_list")):
            raise DataError(
                f"the list {listed} is empty", fix="name at least one test picture in it"
            )
        raise _no_pictures(data, split, own_split)
    reads_own_split = own_split is not None and not lists_given
    if split_of_run and not reads_own_split and split != "train":
        _warn_of_seen(samples, split, split_of_run, own_data=own_data)
    return dataset, samples


def _warn_of_seen(
    samples: Sequence[Sample], split: str, split_of_run: SplitNames, *, own_data: bool
) -> None:
    """Warn of pictures that the run trained on and, for test pictures, of those it validated on.

    In another folder than the run's, equal names only suggest equal pictures.
    """
    uses = {"trained": (split_of_run.train, "say nothing about new pictures")}
    if split == "test":
        uses["validated"] = (split_of_run.validation, "are too good: these chose its best round")
    for use, (names, meaning) in uses.items():
        seen = _of_these_names(samples, names, own_data=own_data)
        if not seen:
            continue
        share = f"{len(seen)} of {len(samples)} ({first_names(seen)})"
        if own_data:
            print_note(f"WARNING: pictures that the run {use} on: {share}; the figures {meaning}")
        else:
            print_note(
                f"WARNING: names of pictures that the run {use} on: {share}; if they are the same "
                f"pictures, the figures {meaning}"
            )


def _of_these_names(
    samples: Sequence[Sample], names: Sequence[str], *, own_data: bool
) -> list[str]:
    """The names of the samples that are among `names`.

    A folder may have been rearranged, so outside the run's data a file name counts too, if only
    one of `names` has it.
    """
    known = set(names)
    if not own_data:
        counts = Counter(PurePosixPath(name).name for name in names)
        known |= {name for name, count in counts.items() if count == 1}
    seen = (
        sample.name
        for sample in samples
        if sample.name in known or (not own_data and PurePosixPath(sample.name).name in known)
    )
    return list(seen)


def _no_pictures(data: Path, split: str, own_split: SplitNames | None) -> DataError:
    option = {"train": "--train-list", "validation": "--val-list", "test": "--test-list"}.get(split)
    if own_split is not None and split == "test" and not own_split.test:
        found = "the run began without test pictures"
        if (named := existing_list(data, TEST_NAMES)) is not None:
            found += f"; those in {named} may have been trained or validated on"
        return DataError(
            found,
            fix=f"train again after 'unet-edge data split {data}', or pass --test-list with new "
            "pictures",
        )
    found = f"{data} has no {split} pictures"
    if own_split is None or option is None:
        return DataError(
            found,
            fix=f"name them in {split}.txt, put them in {split}/, pass {option}, or draw them with "
            f"'unet-edge data split {data}'",
        )
    reason = "the run's own are gone" if getattr(own_split, split) else "the run had none"
    return DataError(f"{found}: {reason}", fix=f"pass {option} FILE")


def _require_alone(file: str | None, output: Path | None, worst: int) -> None:
    """Raise ConfigError for an option that --all-files excludes."""
    source = click.get_current_context().get_parameter_source("worst")
    given_worst = worst if source is ParameterSource.COMMANDLINE else None
    options = {"--file": file, "--output": output, "--worst": given_worst}
    for option in [name for name, value in options.items() if value is not None]:
        raise ConfigError(f"--all-files and {option} exclude each other", fix="leave one out")


def _evaluate_files(
    model: Path,
    data: Path,
    split: str,
    tolerance: float | None,
    threads: int | None,
    as_json: bool,
    rules: dict[str, Any],
) -> None:
    """Score every file of a bundle beside the model that it was exported from."""
    from unet_edge.evaluation.evaluation import evaluate_files

    reference, files, not_run = _open_all(model, threads)
    dataset, samples = _read_data(model, data, reference.spec.classes, split, rules)
    shown = progress(samples, "evaluating")
    reference_score, scores = evaluate_files(reference, files, dataset, shown, tolerance=tolerance)
    for doubt in reference_score.doubts:
        print_note(f"WARNING: {doubt}")
    if as_json:
        print_json(
            {
                "data": str(data),
                "split": split,
                "masks": str(dataset.rule),
                "boundary_tolerance_px": tolerance,
                "reference": reference_score.to_dict(),
                "files": [score.to_dict() for score in scores],
                "not_run": {name: str(error) for name, error in not_run.items()},
            }
        )
        return
    print_files(reference_score, scores, not_run, split, dataset.rule)


def _open_all(
    model: Path, threads: int | None
) -> tuple[Segmenter, list[Segmenter], dict[str, BackendError]]:
    """Open the reference and every file that runs here; return why the other files do not run.

    The reference is the Keras model of a run, or the float32 file of a bundle.
    """
    is_run = (model / KERAS_MODEL).is_file()
    path = model / BUNDLE_FOLDER if is_run else model
    if is_run and not path.is_dir():
        raise ConfigError(
            f"{model} holds no bundle",
            fix=f"write one with 'unet-edge export {model}'",
        )
    bundle = Bundle.open(path)
    if is_run:
        reference = open_model(model, None, threads)
        if reference.digest != bundle.reference.keras_sha256:
            raise ConfigError(
                f"{path} was exported from another model than {model / KERAS_MODEL}",
                fix=f"export again with 'unet-edge export {model}'",
            )
    else:
        remedy = "name the training run instead of its bundle"
        reference = open_model(path, float32_file(bundle, remedy), threads)
        print_note(f"compared with {reference.name}; name the run to compare with Keras")
    files: list[Segmenter] = []
    not_run: dict[str, BackendError] = {}
    for entry in bundle.files:
        try:
            files.append(open_model(path, entry.name, threads))
        except BackendError as error:
            not_run[entry.name] = error
    if not files:
        raise BackendError("; ".join(dict.fromkeys(map(str, not_run.values()))))
    return reference, files, not_run
