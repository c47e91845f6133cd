"""Tuning: the fastest file, interpreter and number of threads here, within the agreement floor.

Each measurement runs in its own process, as in a benchmark. The measurements are taken in passes
over all candidates, there and back, and are compared within passes. So a board that gets hot and
slow slows all candidates, and the last of one pass is the first of the next.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from unet_edge.benchmarking.measurement import Request, cost_of, require_golden
from unet_edge.benchmarking.tables import number
from unet_edge.benchmarking.tuning_results import Candidate, Trial, Tuning, choose, ranked_by_speed
from unet_edge.bundle.bundle import IMPROVE, Bundle
from unet_edge.errors import BackendError, ConfigError
from unet_edge.percent import percent
from unet_edge.runtime.interpreter_probe import probe
from unet_edge.runtime.interpreter_problems import problem
from unet_edge.runtime.interpreters import INTERPRETERS, System
from unet_edge.runtime.packages import PACKAGES, Package
from unet_edge.runtime.threads import default_threads, thread_count
from unet_edge.runtime.tuning_cache import this_machine
from unet_edge.system.board import read_processor
from unet_edge.system.counting import counted
from unet_edge.system.timing import gemm_ms

HOPELESS = 2.0
"""A candidate is not measured again if its first pass takes this many times the fastest's time.

A machine counts as steady while its speed changes by less than 1.25 times
(`BenchmarkResult.steady`), so two equal candidates may differ by 1.25². The margin above that is
for a short disturbance.
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
    """Measure every file with every interpreter that reads it, then the best two on other threads.

    A round is two passes, there and back. Each pass times `runs` pictures, cycling over `pictures`
    (by default the golden ones). With `threads`, no other number is tried. `say` is called before
    each long step.

    Raises BackendError when nothing here runs the bundle within its floors. Raises ConfigError for
    settings out of range, BundleError for a bundle without golden pictures.
    """
    if runs < 1 or rounds < 1:
        raise ConfigError(
            f"runs is {runs} and rounds is {rounds}", expected="both must be at least 1"
        )
    count = thread_count(threads)
    require_golden(bundle)
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
    working, missing = _working_interpreters()
    trials = _trials(bundle, working, count)
    excluded = _under_their_floor(bundle)
    if not trials:
        raise _nothing_to_try(bundle, excluded, missing)
    preference = [trial.candidate.file for trial in trials]
    gemm_before_ms = gemm_ms()
    if elsewhere := bundle.measured_elsewhere():
        say(elsewhere)
    say(
        f"measuring {counted(len(trials), 'pair')} of file and interpreter on "
        f"{counted(count, 'thread')}"
    )
    trials = _measured(trials, request, rounds, "files")
    ranked = ranked_by_speed(trials)
    others = [n for n in _numbers_of_threads() if n != count] if threads is None else []
    if ranked and others:
        say(f"measuring the best two on {', '.join(map(str, others))} threads, too")
        again = _measured(
            _on_threads(ranked[:2], sorted([count, *others])), request, rounds, "threads"
        )
        trials = [*_without(trials, again), *again]
        ranked = ranked_by_speed(again)
    if not ranked:
        raise _no_candidate_left(trials)
    unranked = [trial for trial in trials if trial not in ranked]
    unranked.sort(key=lambda trial: trial.total_ms if trial.costs else math.inf)
    return Tuning(
        chosen=choose(ranked, preference),
        trials=(*ranked, *unranked),
        missing=missing,
        machine=this_machine(),
        runs=runs,
        rounds=rounds,
        pictures=len(request.pictures),
        gemm_before_ms=gemm_before_ms,
        gemm_after_ms=gemm_ms(),
        excluded=excluded,
    )


def _working_interpreters() -> tuple[set[Package], dict[str, str]]:
    """The interpreters that run a tiny model here, and the problem of each other one."""
    attempts = [probe(interpreter).attempt for interpreter in INTERPRETERS]
    system = System.here()
    missing = {
        attempt.package: problem(attempt, system)
        for attempt in attempts
        if attempt.state != "works"
    }
    working = {entry.package for entry in INTERPRETERS if entry.package not in missing}
    return working, missing


def _numbers_of_threads() -> list[int]:
    return list(range(1, default_threads() + 1))


def _trials(bundle: Bundle, working: set[Package], threads: int) -> list[Trial]:
    """Each file with each working interpreter that reads it, in the order of preference."""
    return [
        Trial(Candidate(entry.name, package, threads), entry.golden_floor)
        for entry in bundle.promising()
        for package in PACKAGES[entry.format]
        if package in working
    ]


def _under_their_floor(bundle: Bundle) -> dict[str, str]:
    """The files that missed their floor at the export and cannot reach it here, with the reason."""
    tried = bundle.promising()
    return {
        entry.name: f"under its floor at export on {bundle.processor}: "
        f"{percent(entry.agreement)} %, floor {percent(entry.floor)} %"
        for entry in bundle.files
        if entry not in tried
    }


def _nothing_to_try(
    bundle: Bundle, excluded: dict[str, str], missing: dict[str, str]
) -> BackendError:
    if not excluded:
        return BackendError(f"nothing here runs {bundle.path}: {'; '.join(missing.values())}")
    reasons = [f"{name} is {reason}" for name, reason in excluded.items()]
    if len(excluded) < len(bundle.files):
        reasons += [f"nothing here runs the others: {'; '.join(missing.values())}"]
    return BackendError(f"no file of {bundle.path} is tried: {'; '.join(reasons)}", fix=IMPROVE)


def _on_threads(trials: Sequence[Trial], numbers: Sequence[int]) -> list[Trial]:
    """Trials of the same files and interpreters on each number of threads, not measured yet."""
    return [
        Trial(dataclasses.replace(trial.candidate, threads=number), trial.floor)
        for trial in trials
        for number in numbers
    ]


def _without(trials: Sequence[Trial], again: Sequence[Trial]) -> list[Trial]:
    """The trials that were not measured again, all of them out."""
    # Only candidates that share their passes are compared, so the first figures do not count.
    repeated = {trial.candidate for trial in again}
    return [
        trial if trial.out else dataclasses.replace(trial, out="not one of the best two")
        for trial in trials
        if trial.candidate not in repeated
    ]


def _no_candidate_left(trials: Sequence[Trial]) -> BackendError:
    reasons = dict.fromkeys(f"{t.candidate.file} by {t.candidate.backend} {t.out}" for t in trials)
    return BackendError(f"no file reaches its floor here: {'; '.join(reasons)}", fix=IMPROVE)


def _measured(trials: Sequence[Trial], request: Request, rounds: int, label: str) -> list[Trial]:
    """The trials with the figures of all passes; a trial that is out is not measured again."""
    # Here, not at the top: the measuring children import no progress bar.
    from unet_edge.system.progress import progress_bar

    measured = list(trials)
    bar = progress_bar(len(trials) * 2 * rounds, label)
    try:
        for number_of_pass in range(2 * rounds):
            indices = [index for index, trial in enumerate(measured) if trial.out is None]
            for index in indices if number_of_pass % 2 == 0 else reversed(indices):
                candidate = measured[index].candidate
                bar.set_postfix_str(f"{candidate.file} {candidate.backend} {candidate.threads}")
                measured[index] = _measured_once(measured[index], request)
                bar.update()
            if number_of_pass == 0:
                measured = _hopeless_out(measured)
                running = sum(trial.out is None for trial in measured)
                bar.total = len(trials) + running * (2 * rounds - 1)
                bar.refresh()
    finally:
        bar.close()
    return measured


def _measured_once(trial: Trial, request: Request) -> Trial:
    """The trial with one more measurement, or out with the reason."""
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
        reason = (
            f"under its floor on {read_processor().int8}: {percent(cost.agreement)} %, floor "
            f"{percent(trial.floor)} %"
        )
        return dataclasses.replace(trial, out=reason)
    return trial


def _hopeless_out(trials: Sequence[Trial]) -> list[Trial]:
    """The trials after the first pass; those above HOPELESS are out."""
    fastest = min((trial.model_ms[0] for trial in trials if trial.out is None), default=0.0)

    def checked(trial: Trial) -> Trial:
        if trial.out or trial.model_ms[0] <= HOPELESS * fastest:
            return trial
        times = number(trial.model_ms[0] / fastest)
        return dataclasses.replace(trial, out=f"{times} times as slow in the first pass")

    return [checked(trial) for trial in trials]
