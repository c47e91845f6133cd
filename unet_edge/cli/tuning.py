"""The command that finds the fastest way to run a bundle here, and remembers it. No TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from unet_edge.bundle.bundle import Bundle
from unet_edge.cli.options import json_option, path_type
from unet_edge.cli.output import print_json, print_texts, say
from unet_edge.errors import ConfigError
from unet_edge.images.listing import list_pictures

if TYPE_CHECKING:
    from unet_edge.benchmarking.tuning_results import Trial, Tuning


@click.command()
@click.argument("bundle", type=path_type())
@click.option(
    "--images", type=path_type(), help="Photos to time on.  [default: the golden pictures]"
)
@click.option(
    "--runs", type=click.IntRange(1), default=10, show_default=True, help="Pictures in each pass."
)
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="Each is two passes over all candidates, there and back.",
)
@click.option("--threads", type=click.IntRange(1), help="Try this number only.  [default: 1 to 4]")
@click.option("--forget", is_flag=True, help="Measure nothing; delete what was chosen before.")
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

    Each file is timed with every interpreter that reads it, in processes of their own, in turns;
    then the best two on other numbers of threads. What does not agree with Keras on the golden
    pictures as closely as its floor asks is out. The choice is kept in tuning.json in the
    bundle's folder (in ~/.config/unet-edge where that is write-protected), and 'unet-edge
    segment' and Segmenter.open then use it, until machine, bundle or interpreter change. Close
    other programs first. Ctrl-C leaves the old choice.

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
    pictures = list_pictures(images) if images else None
    if images and not pictures:
        raise ConfigError(f"there is no picture in {images}")
    found = measure(opened, pictures=pictures, runs=runs, rounds=rounds, threads=threads, say=say)
    choice = found.choice(opened)
    tuning_cache.save_tuning(opened, choice, path, found.summary())
    if as_json:
        print_json({"written": str(path), "interpreter": choice.interpreter, **found.to_dict()})
        return
    print_texts([_row(found, trial) for trial in found.trials], _HEADERS)
    if found.missing:
        click.echo(f"not tried: {'; '.join(found.missing.values())}")
    if not found.steady:
        say(
            "warning: this machine's speed changed meanwhile: tune again when it is cool and "
            "nothing else runs"
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


def _row(found: Tuning, trial: Trial) -> list[str]:
    from statistics import median

    from unet_edge.benchmarking.tables import number
    from unet_edge.percent import percent

    candidate = trial.candidate
    verdict = "chosen" if trial is found.chosen else trial.out or ""
    if not trial.costs:
        figures = ["–"] * 4 + [percent(trial.floor), "–"]
        return [candidate.file, candidate.backend, str(candidate.threads), *figures, verdict]
    times = found.times_chosen(trial)
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
