"""The command that finds and stores the fastest way to run a bundle, without TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from unet_edge.bundle.bundle import Bundle
from unet_edge.cli.options import json_option, path_type, timed_images_option
from unet_edge.cli.output import print_json, print_line, print_note, print_texts
from unet_edge.cli.photo_list import list_photos
from unet_edge.errors import ConfigError

if TYPE_CHECKING:
    from unet_edge.benchmarking.tuning_results import Trial, Tuning


@click.command()
@click.argument("bundle", type=path_type())
@timed_images_option
@click.option(
    "--runs",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="Number of pictures in each pass.",
)
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="Number of rounds. A round times all candidates in order, then in reverse order.",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    help="Number of threads to try.  [default: 1 to the number of processors, at most 4]",
)
@click.option("--forget", is_flag=True, help="Delete the stored choice and measure nothing.")
@json_option
def tune(
    bundle: Path,
    images: Path | None,
    runs: int,
    rounds: int,
    threads: int | None,
    forget: bool,
    as_json: bool,
) -> None:
    """Find the fastest file, interpreter and number of threads for a BUNDLE on this machine.

    Each file is timed with every interpreter that reads it, in turns, each pair in a process of its
    own. The best two are then timed with other numbers of threads. Files below their agreement
    floor on the golden pictures are excluded.

    The choice is stored in tuning.json in the bundle's folder, or in ~/.config/unet-edge if that
    folder is write-protected. 'unet-edge segment' and Segmenter.open use it until the board, the
    bundle or the interpreter version changes. Close other programs first. Ctrl-C keeps the old
    choice.

    \b
    Examples:
      unet-edge tune bundle
      unet-edge tune bundle --images photos/ --rounds 5
      unet-edge tune bundle --threads 2        # for a program that gets two cores
      unet-edge tune bundle --forget
    """
    from unet_edge.runtime import tuning_cache

    opened = Bundle.open(bundle)
    if forget:
        deleted = tuning_cache.delete_tuning(opened)
        if as_json:
            print_json({"deleted": [str(path) for path in deleted]})
        else:
            click.echo(
                f"deleted {', '.join(map(str, deleted))}" if deleted else "nothing to forget"
            )
        return
    from unet_edge.benchmarking.autotune import tune as measure

    path = tuning_cache.writable_path(opened)
    pictures = list_photos(images) if images else None
    if images and not pictures:
        raise ConfigError(f"there is no picture in {images}")
    tuning = measure(
        opened, pictures=pictures, runs=runs, rounds=rounds, threads=threads, say=print_note
    )
    choice = tuning.choice(opened)
    tuning_cache.save_tuning(opened, choice, path, tuning.summary())
    if as_json:
        print_json({"written": str(path), "interpreter": choice.interpreter, **tuning.to_dict()})
        return
    print_texts([_row(tuning, trial) for trial in tuning.trials], _HEADERS)
    for file, reason in tuning.excluded.items():
        print_line(f"not tried: {file} is {reason}")
    if tuning.missing:
        click.echo(f"not tried: {'; '.join(tuning.missing.values())}")
    if not tuning.steady:
        print_note(
            "warning: this machine's speed changed during the measurement: tune again when it is "
            "cool and nothing else runs"
        )
    click.echo(f"chosen: {choice}; written to {path}")


_HEADERS = [
    "file",
    "interpreter",
    "threads",
    "picture ms",
    "model ms",
    "× chosen",
    "agreement %",
    "floor %",
    "peak MiB",
    "",
]


def _row(tuning: Tuning, trial: Trial) -> list[str]:
    from statistics import median

    from unet_edge.benchmarking.tables import number
    from unet_edge.percent import percent

    candidate = trial.candidate
    verdict = "chosen" if trial is tuning.chosen else trial.out or ""
    if not trial.costs:
        figures = ["–"] * 4 + [percent(trial.floor), "–"]
        return [candidate.file, candidate.backend, str(candidate.threads), *figures, verdict]
    times = tuning.times_chosen(trial)
    return [
        candidate.file,
        trial.costs[0].backend,
        str(candidate.threads),
        number(trial.total_ms),
        number(median(trial.model_ms)),
        "–" if times is None else f"{times:.2f}",
        percent(trial.agreement),
        percent(trial.floor),
        f"{max(cost.peak_memory_mib for cost in trial.costs):.0f}",
        verdict,
    ]
