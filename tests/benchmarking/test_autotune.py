"""Tuning: what is measured, what is out, and what is chosen."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_up_benchmarks import scores

from unet_edge.benchmarking import autotune
from unet_edge.benchmarking.autotune import _nothing_to_try, tune
from unet_edge.benchmarking.measurement import Request
from unet_edge.benchmarking.results import TOTAL, Measurement
from unet_edge.benchmarking.tuning_results import (
    EQUAL,
    Candidate,
    Trial,
    Tuning,
    choose,
    ranked_by_speed,
)
from unet_edge.bundle.bundle import IMPROVE, Bundle
from unet_edge.errors import BackendError, BundleError, ConfigError
from unet_edge.runtime.segmenter import STAGES
from unet_edge.runtime.threads import default_threads
from unet_edge.system.board import read_processor

READERS = {"tflite": "ai-edge-litert", "onnx": "onnxruntime"}


@pytest.fixture(scope="module")
def bundle(bundle_path: Path) -> Bundle:
    return Bundle.open(bundle_path)


# --- the choice -------------------------------------------------------------------------------


def cost(ms: float, agreement: float = 1.0) -> Measurement:
    """Inference and labels take `ms`, half each; the other stages take 100 ms."""
    times = {"decode": 60.0, "place": 30.0, "infer": ms / 2, "mask": ms / 2, "restore": 10.0}
    stages = {stage: dict.fromkeys(("p50", "p90", "p99", "min"), times[stage]) for stage in STAGES}
    stages[TOTAL] = dict.fromkeys(("p50", "p90", "p99", "min"), 100 + ms)
    return Measurement("x 1", 1, 5.0, stages, 50.0, scores(agreement))


def trial(file: str, *model_ms: float, threads: int = 1) -> Trial:
    return Trial(Candidate(file, "openvino", threads), 0.9, tuple(map(cost, model_ms)))


def test_the_fastest_is_found_by_comparing_within_passes() -> None:
    # The board slows to a third between the passes: b is always 10 % faster than a.
    a, b = trial("a", 10, 20, 30), trial("b", 9, 18, 27)
    # c was fast once: its minimum and its mean are the lowest.
    c = trial("c", 2, 19, 29)
    assert [t.candidate.file for t in ranked_by_speed([a, b, c])] == ["b", "c", "a"]
    assert choose(ranked_by_speed([a, b, c]), ["a", "b", "c"]) is b


def test_a_trial_that_is_out_is_not_ranked() -> None:
    out = dataclasses.replace(trial("a", 1), out="under its floor")
    assert ranked_by_speed([out, trial("b", 2)]) == [trial("b", 2)]
    assert ranked_by_speed([out]) == []


def test_among_equals_the_preferred_file_on_the_fewest_threads_wins() -> None:
    fastest = trial("b", 10, 10, threads=4)
    preferred = trial("a", 10.2, 10.2, threads=4)
    cooler = trial("a", 10.25, 10.25, threads=2)
    slower = trial("a", 10.4, 10.4, threads=1)  # 4 %
    ranked = ranked_by_speed([slower, cooler, preferred, fastest])
    assert ranked[0] is fastest
    assert choose(ranked, ["a", "b"]) is cooler
    assert choose(ranked, ["b", "a"]) is fastest


def test_figures_of_a_trial() -> None:
    measured = Trial(
        Candidate("a", "openvino", 1), 0.9, (cost(8, 0.95), cost(4, 0.97), cost(6, 0.96))
    )
    assert measured.model_ms == [8, 4, 6]
    assert measured.total_ms == 106
    assert measured.agreement == 0.95


# --- passes, on a board that gets slower ------------------------------------------------------


@pytest.fixture
def hot_board(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[str, int]]]:
    """Replace the measuring child: a file takes `ms`, 4 % more with every measurement."""

    def make(
        ms: Callable[[Request], float], agreement: Callable[[Request], float] = lambda _: 1.0
    ) -> list[tuple[str, int]]:
        asked: list[tuple[str, int]] = []

        def measured(request: Request) -> Measurement | str:
            assert request.file is not None
            assert request.threads is not None
            slowness = 1.04 ** len(asked)
            asked.append((request.file, request.threads))
            took = ms(request) * slowness
            return cost(took, agreement(request)) if took else "it is broken"

        monkeypatch.setattr(autotune, "cost_of", measured)
        monkeypatch.setattr(
            autotune, "_working_interpreters", lambda: ({"ai-edge-litert", "onnxruntime"}, {})
        )
        monkeypatch.setattr(autotune, "_numbers_of_threads", lambda: [1, 2, 3, 4])
        monkeypatch.setattr(autotune, "thread_count", lambda threads: threads or 4)
        return asked

    return make


TIMES = {"model-float32.tflite": 10.4, "model-float16.onnx": 10.0, "model-int8.onnx": 30.0}


def names_within_floor(bundle: Bundle) -> list[str]:
    return [entry.name for entry in bundle.preferred()]


def test_heat_does_not_favour_candidates_that_are_measured_first(
    bundle: Bundle, hot_board: Callable[..., list[tuple[str, int]]]
) -> None:
    names = names_within_floor(bundle)
    last = names[-1]

    def ms(request: Request) -> float:
        return (10.0 if request.file == last else 11.0) * (1 + abs(request.threads - 3))  # type: ignore[operator]

    asked = hot_board(ms)
    tuning = tune(bundle, rounds=1)
    # In the first pass, the last file's 10 ms come after so many others that it looks slower.
    assert 1.04 ** (len(names) - 1) > 1.1
    assert (tuning.chosen.candidate.file, tuning.chosen.candidate.threads) == (last, 3)
    # One pass there and one back.
    assert asked[: 2 * len(names)] == [(n, 4) for n in (*names, *reversed(names))]


def test_only_the_best_two_are_tried_on_other_threads(
    bundle: Bundle, hot_board: Callable[..., list[tuple[str, int]]]
) -> None:
    asked = hot_board(lambda request: TIMES.get(str(request.file), 12.0) / request.threads)
    tuning = tune(bundle, rounds=2)
    on_others = {name for name, threads in asked if threads != 4}
    assert on_others == {"model-float32.tflite", "model-float16.onnx"}
    # int8.onnx takes 2.5 times as long, and 4 % more for each one before it: measured once.
    assert asked.count(("model-int8.onnx", 4)) == 1
    reasons = {t.candidate.file: t.out for t in tuning.trials if t.candidate.threads == 4}
    assert str(reasons["model-int8.onnx"]).endswith(" times as slow in the first pass")
    assert reasons["model-float32.onnx"] == "not one of the best two"
    # So are single threads, which are four times as slow as four.
    assert asked.count(("model-float16.onnx", 1)) == 1
    assert tuning.chosen.candidate == Candidate("model-float16.onnx", "onnxruntime", 4)
    asked.clear()
    assert tune(bundle, rounds=1, threads=2).chosen.candidate.threads == 2
    assert {threads for _, threads in asked} == {2}


def test_a_file_under_its_floor_here_is_out_however_fast(
    bundle: Bundle, hot_board: Callable[..., list[tuple[str, int]]]
) -> None:
    fast = "model-float16.tflite"
    asked = hot_board(
        lambda request: 1.0 if request.file == fast else 10.0,
        lambda request: 0.98 if request.file == fast else 1.0,
    )
    tuning = tune(bundle, rounds=1, threads=1)
    (out,) = [t for t in tuning.trials if t.candidate.file == fast]
    floor = bundle.file(fast).golden_floor
    kind = read_processor().int8
    assert out.out == f"under its floor on {kind}: 98.000 %, floor {int(floor * 1e5) / 1e3:.3f} %"
    assert tuning.chosen.candidate.file != fast
    assert asked.count((fast, 1)) == 1
    assert tuning.times_chosen(out) is None
    # It is not the fastest by which others are hopeless either.
    assert len([t for t in tuning.trials if t.out is None]) == len(names_within_floor(bundle)) - 1


def test_where_no_file_reaches_its_floor_the_error_names_all_reasons(
    bundle: Bundle, hot_board: Callable[..., list[tuple[str, int]]]
) -> None:
    hot_board(lambda r: 10.0 if "onnx" in str(r.file) else 0.0, lambda _: 0.5)
    with pytest.raises(BackendError) as raised:
        tune(bundle)
    message = str(raised.value)
    assert "model-float32.tflite by ai-edge-litert does not run: it is broken" in message
    kind = read_processor().int8
    assert (
        f"model-float32.onnx by onnxruntime under its floor on {kind}: 50.000 %, floor " in message
    )


# --- on this machine --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tuned(bundle: Bundle) -> Tuning:
    return tune(bundle, runs=3, rounds=1)


def test_every_file_is_tried_with_every_interpreter_that_reads_it(
    bundle: Bundle, tuned: Tuning
) -> None:
    tried = {t.candidate for t in tuned.trials if t.candidate.threads == default_threads()}
    expected = {
        Candidate(entry.name, READERS[entry.format], default_threads())  # type: ignore[arg-type]
        for entry in bundle.preferred()
    }
    assert expected <= tried
    assert {name.partition(" ")[0] for name in tuned.missing} <= {"tflite-runtime", "openvino"}
    threads = {t.candidate.threads for t in tuned.trials}
    assert threads == set(range(1, min(4, len(os.sched_getaffinity(0))) + 1))


def test_the_chosen_trial_was_measured_in_every_pass_and_reaches_its_floor(
    bundle: Bundle, tuned: Tuning
) -> None:
    chosen = tuned.chosen
    assert len(chosen.costs) == 2
    assert chosen.out is None
    assert chosen.agreement >= bundle.file(chosen.candidate.file).golden_floor
    assert tuned.times_chosen(chosen) == 1
    for other in tuned.trials:
        times = tuned.times_chosen(other)
        assert times is None or times > 1 / EQUAL - 1e-9
    assert chosen.costs[0].threads == chosen.candidate.threads
    assert chosen.costs[0].backend.startswith(f"{chosen.candidate.backend} ")
    choice = tuned.choice(bundle)
    assert choice.interpreter == chosen.costs[0].backend
    assert choice.installed[chosen.candidate.backend] in choice.interpreter
    data = json.loads(json.dumps(tuned.to_dict(), allow_nan=False))
    assert data["chosen"] == dataclasses.asdict(chosen.candidate)
    assert len(tuned.summary()) == len(tuned.trials)


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    (folder / "onnxruntime").mkdir()
    (folder / "onnxruntime" / "__init__.py").write_text(source)
    monkeypatch.syspath_prepend(folder)


def test_an_interpreter_that_dies_is_not_tried(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, "import os; os.kill(os.getpid(), 9)")
    tuning = tune(bundle, runs=1, rounds=1, threads=1)
    assert {t.candidate.backend for t in tuning.trials} == {"ai-edge-litert"}
    assert "died with signal SIGKILL" in tuning.missing["onnxruntime"]


def test_without_an_interpreter_the_error_names_the_reasons(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, "raise ImportError('wrong libc')")
    only = dataclasses.replace(
        bundle, files=tuple(entry for entry in bundle.files if entry.format == "onnx")
    )
    with pytest.raises(BackendError, match=r"nothing here runs .*wrong libc"):
        tune(only)


def test_files_under_their_floor_and_files_without_an_interpreter_are_both_named(
    bundle: Bundle,
) -> None:
    under = {"model-int8.tflite": "under its floor"}
    missing = {"onnxruntime": "onnxruntime is not installed"}
    error = _nothing_to_try(bundle, under, missing)
    assert error.found == (
        f"no file of {bundle.path} is tried: model-int8.tflite is under its floor; nothing here "
        "runs the others: onnxruntime is not installed"
    )
    assert error.fix == IMPROVE
    assert _nothing_to_try(bundle, {}, missing).fix == ""


@pytest.mark.parametrize("settings", [{"runs": 0}, {"rounds": 0}])
def test_settings_out_of_range(bundle: Bundle, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="must be at least 1"):
        tune(bundle, **settings)


def test_a_bundle_without_golden_pictures_is_refused(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="no golden pictures"):
        tune(dataclasses.replace(bundle, golden=()))
