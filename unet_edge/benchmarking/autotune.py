"""Tuning: which file, interpreter and number of threads is fastest here, and keeps its floor.

Every measurement is a process of its own, as in a benchmark. They are taken in passes over all
candidates, there and back, and compared within passes: a board that grows hot and slow meanwhile
slows all of them, and what came last in one pass comes first in the next.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from unet_edge.benchmarking.measurement import Request, cost_of
from unet_edge.benchmarking.tables import number
from unet_edge.benchmarking.tuning_results import Candidate, Trial, Tuning, choose, ranked_by_speed
from unet_edge.bundle.bundle import Bundle
from unet_edge.errors import BackendError, BundleError, ConfigError
from unet_edge.percent import percent
from unet_edge.runtime.availability import problem
from unet_edge.runtime.interpreter_probe import probe
from unet_edge.runtime.interpreters import INTERPRETERS, System
from unet_edge.runtime.packages import PACKAGES, Package
from unet_edge.runtime.threads import default_threads, thread_count
from unet_edge.runtime.tuning_cache import this_machine
from unet_edge.system.board import read_processor
from unet_edge.system.timing import gemm_ms

HOPELESS = 2.0
"""How many times as slow as the fastest a candidate may be in its first pass and stay.

A quarter more or less is a machine that was throttled or shared (`BenchmarkResult.steady`), so two
equals may come out 1.25² apart; the rest is for one burst of something else.
"""


def tune(
    bundle: Bundle,
    *,
    pictures: Sequence[Path] | None = None,
    runs: int = 10,
    rounds: int = 2,
    threads: int | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Tuning:
    """Measure every file with every interpreter that reads it, then the best two's threads.

    A round is two passes, there and back, each over `runs` pictures, cycling over `pictures` (the
    golden ones by default); with `threads` no other number is tried. `say` hears what takes time.

    Raises BackendError when nothing runs here that keeps its floor, ConfigError, BundleError.
    """
    if runs < 1 or rounds < 1:
        raise ConfigError(
            f"runs is {runs} and rounds is {rounds}",
            expected="both must be at least 1",
        )
    count = thread_count(threads)
    if not bundle.golden:
        raise BundleError(f"{bundle.path} holds no golden pictures to prove its files by")
    used = pictures or [bundle.path / golden.picture for golden in bundle.golden]
    request = Request(
        bundle=str(bundle.path),
        model=str(bundle.path),
        file=None,
        threads=None,
        runs=runs,
        pictures=[str(path.absolute()) for path in used[:runs]],
    )
    say("trying the interpreters")
    working, missing = _working()
    # In the order of preference, which decides between equals.
    start = [
        Trial(Candidate(entry.name, package, count), entry.golden_floor)
        for entry in bundle.promising()
        for package in PACKAGES[entry.format]
        if package in working
    ]
    if not start:
        raise BackendError(f"nothing here runs {bundle.path}: {'; '.join(missing.values())}")
    before = gemm_ms()
    if elsewhere := bundle.measured_elsewhere():
        say(elsewhere)
    say(f"measuring {len(start)} pairs of file and interpreter on {count} threads")
    trials = _measured(start, request, rounds, "files")
    best = ranked_by_speed(trials)[:2]
    others = [n for n in _numbers_of_threads() if n != count] if threads is None else []
    if best and others:
        say(f"measuring the best two on {', '.join(map(str, others))} threads, too")
        # Anew on the first number, too: only what shared its passes is compared.
        again = [
            Trial(dataclasses.replace(trial.candidate, threads=n), trial.floor)
            for trial in best
            for n in sorted([count, *others])
        ]
        second = _measured(again, request, rounds, "threads")
        redone = {trial.candidate for trial in second}
        slower = [trial for trial in trials if trial.candidate not in redone]
        trials = [
            trial if trial.out else dataclasses.replace(trial, out="not one of the best two")
            for trial in slower
        ] + second
        ranked = ranked_by_speed(second)
    else:
        ranked = ranked_by_speed(trials)
    if not ranked:
        reasons = dict.fromkeys(
            f"{t.candidate.file} by {t.candidate.backend} {t.out}" for t in trials
        )
        raise BackendError(f"nothing here keeps its floor: {'; '.join(reasons)}")
    chosen = choose(ranked, [trial.candidate.file for trial in start])
    rest = [trial for trial in trials if trial not in ranked]
    rest.sort(key=lambda trial: trial.total_ms if trial.costs else math.inf)
    return Tuning(
        chosen=chosen,
        trials=(*ranked, *rest),
        missing=missing,
        machine=this_machine(),
        runs=runs,
        rounds=rounds,
        pictures=len(request.pictures),
        gemm_before_ms=before,
        gemm_after_ms=gemm_ms(),
    )


def _working() -> tuple[set[Package], dict[str, str]]:
    """The interpreters that run a tiny model here, and what is wrong with the others."""
    attempts = [probe(known).attempt for known in INTERPRETERS]
    system = System.here()
    missing = {one.package: problem(one, system) for one in attempts if one.state != "works"}
    return {known.package for known in INTERPRETERS if known.package not in missing}, missing


def _numbers_of_threads() -> list[int]:
    return list(range(1, default_threads() + 1))


def _measured(trials: Sequence[Trial], request: Request, rounds: int, label: str) -> list[Trial]:
    """The trials with what the passes say of them; those that are out stay out."""
    from unet_edge.system.progress import progress_bar  # here: children import nothing for the eye

    measured = list(trials)
    bar = progress_bar(len(trials) * 2 * rounds, label)
    try:
        for number_of_pass in range(2 * rounds):
            places = [place for place, trial in enumerate(measured) if trial.out is None]
            for place in places if number_of_pass % 2 == 0 else reversed(places):
                candidate = measured[place].candidate
                bar.set_postfix_str(f"{candidate.file} {candidate.backend} {candidate.threads}")
                measured[place] = _once(measured[place], request)
                bar.update()
            if number_of_pass == 0:
                measured = _without_the_hopeless(measured)
                running = sum(trial.out is None for trial in measured)
                bar.total = len(trials) + running * (2 * rounds - 1)
                bar.refresh()
    finally:
        bar.close()
    return measured


def _once(trial: Trial, request: Request) -> Trial:
    """The trial with one more cost, or out of the running."""
    candidate = trial.candidate
    cost = cost_of(
        dataclasses.replace(
            request,
            file=candidate.file,
            backend=candidate.backend,
            threads=candidate.threads,
        )
    )
    if isinstance(cost, str):
        return dataclasses.replace(trial, out=f"does not run: {cost}")
    trial = dataclasses.replace(trial, costs=(*trial.costs, cost))
    if cost.agreement < trial.floor:
        why = (
            f"under its floor on {read_processor().int8}: {percent(cost.agreement)} % of "
            f"{percent(trial.floor)} %"
        )
        return dataclasses.replace(trial, out=why)
    return trial


def _without_the_hopeless(trials: Sequence[Trial]) -> list[Trial]:
    fastest = min((t.model_ms[0] for t in trials if t.out is None), default=0.0)

    def judged(trial: Trial) -> Trial:
        if trial.out or trial.model_ms[0] <= HOPELESS * fastest:
            return trial
        slower = number(trial.model_ms[0] / fastest)
        return dataclasses.replace(trial, out=f"{slower} times as slow in the first pass")

    return [judged(trial) for trial in trials]
