"""Comparing two benchmarks: no difference without a cause, and the right stage with one."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from made_up_benchmarks import CALM, FILES, MACHINE, made_up

from unet_edge.benchmarking.comparison import compare
from unet_edge.benchmarking.result_file import read_result
from unet_edge.benchmarking.results import BenchmarkResult
from unet_edge.errors import ConfigError


def write(result: BenchmarkResult, path: Path) -> Path:
    path.write_text(json.dumps(result.to_dict()))
    return path


def test_a_file_of_figures_is_read_again(tmp_path: Path) -> None:
    result = made_up(0)
    assert read_result(write(result, tmp_path / "a.json")) == result


def test_two_runs_of_the_same_seldom_differ() -> None:
    # Holm keeps the chance that any of the 18 stages differs below 5 %: of 200 pairs fewer than 10
    # are expected, and more than 20 would happen once in 860 times (binomial). The seeds are fixed.
    wrong = sum(
        any(each.significant for each in compare(made_up(2 * n), made_up(2 * n + 1)).differences)
        for n in range(200)
    )
    assert wrong <= 20


@pytest.mark.parametrize("stage", ["decode", "infer", "mask"])
def test_a_slowdown_of_a_tenth_is_found_and_named(stage: str) -> None:
    planted = {("model-int8.tflite", stage): 1.1}
    found = 0
    for seed in range(20):
        differences = compare(made_up(seed), made_up(100 + seed, planted)).differences
        named = {(d.file, d.stage) for d in differences if d.slower}
        found += named - {("model-int8.tflite", "total")} == set(planted)
    assert found >= 19


def test_the_ratio_is_that_of_the_times() -> None:
    planted = {(FILES[0], stage): 2.0 for stage in ("decode", "place", "infer", "mask", "restore")}
    differences = compare(made_up(0, noise=1e-6), made_up(1, planted, noise=1e-6)).of(FILES[0])
    # The noise moves a ratio by a few millionths.
    assert {stage: pytest.approx(2, rel=1e-4) for stage in differences} == {
        stage: each.ratio.value for stage, each in differences.items()
    }
    assert differences["total"].before_ms == pytest.approx(18, rel=1e-4)
    assert differences["total"].after_ms == pytest.approx(36, rel=1e-4)


def test_a_difference_below_three_percent_does_not_count() -> None:
    planted = {(FILES[0], "infer"): 1.029}
    found = compare(made_up(0, noise=1e-4), made_up(1, planted, noise=1e-4)).of(FILES[0])["infer"]
    assert found.p < 1e-6
    assert not found.significant


def test_slowdowns_are_those_of_whole_files_beyond_a_share() -> None:
    planted = {(FILES[1], "infer"): 1.15}  # 12 of 18 ms: the file takes 10 % longer
    found = compare(made_up(0, noise=1e-3), made_up(1, planted, noise=1e-3))
    assert [each.file for each in found.slowdowns(0.05)] == [FILES[1]]
    assert not found.slowdowns(0.11)


def test_a_large_difference_that_may_be_chance_is_unsure() -> None:
    planted = {(FILES[0], "infer"): 1.1}
    found = compare(made_up(0, noise=0.2), made_up(1, planted, noise=0.2)).of(FILES[0])["infer"]
    assert found.unsure
    assert not found.significant


def test_keras_is_no_file_that_became_slower() -> None:
    def with_keras(result: BenchmarkResult, factor: float) -> BenchmarkResult:
        cost = result.files[0].cost
        assert cost is not None
        rounds = tuple(
            dataclasses.replace(r, stages={s: factor * ms for s, ms in r.stages.items()})
            for r in cost.rounds
        )
        keras = dataclasses.replace(result.keras, cost=dataclasses.replace(cost, rounds=rounds))
        return dataclasses.replace(result, keras=keras)

    found = compare(with_keras(made_up(0), 1), with_keras(made_up(1), 2))
    assert found.of("model.keras")["total"].slower
    assert not found.slowdowns(0.05)


def test_files_of_one_run_and_changed_versions_are_named() -> None:
    before, after = made_up(0), made_up(1)
    broken = dataclasses.replace(after.files[0], cost=None, error="no interpreter")
    after = dataclasses.replace(
        after,
        files=(broken, *after.files[2:]),
        machine={**MACHINE, "numpy": "3"},
        environment={"OPENBLAS_CORETYPE": "Prescott"},
    )
    found = compare(before, after)
    assert found.only_before == {FILES[0]: "no interpreter", FILES[1]: ""}
    assert found.only_after == {}
    assert found.files == FILES[2:]
    assert found.changed == {"numpy": ("2", "3"), "OPENBLAS_CORETYPE": ("-", "Prescott")}


def test_a_changed_file_is_named_by_its_digest() -> None:
    before, after = made_up(0), made_up(1)
    other = dataclasses.replace(after.files[2], sha256="1" * 64)
    found = compare(before, dataclasses.replace(after, files=(other,)))
    assert found.changed == {f"SHA-256 of {FILES[2]}": ("0" * 12, "1" * 12)}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: dataclasses.replace(r, void=(0, 1, 4, 5)), "the second run has 2 rounds that"),
        (lambda r: dataclasses.replace(r, threads=(1, 2)), "threads 2 and 1, 2"),
        (
            lambda r: dataclasses.replace(r, matrix_kernel="ARMV8"),
            "kernel of NumPy's matrix products NEOVERSEN1 and ARMV8",
        ),
        (lambda r: dataclasses.replace(r, width=64), "model's size 96x96 and 64x96"),
        (lambda r: dataclasses.replace(r, pictures_sha256="1" * 64), "pictures 0000"),
        (
            lambda r: dataclasses.replace(r, machine={**MACHINE, "model": "Pi 4"}),
            r"machine Pi 5 \(ARM with dotprod\) and Pi 4",
        ),
        (
            lambda r: dataclasses.replace(
                r, conditions=(dataclasses.replace(CALM, core_ms=3.8),) * 7
            ),
            "1.27 times as long in the second",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(
    change: Callable[[BenchmarkResult], BenchmarkResult], reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        compare(made_up(0), change(made_up(1)))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "is not JSON"),
        ("[]", "is malformed: it is a"),
        ('{"gemm_before_ms": 1, "files": [], "keras": {}}', "is malformed: "),
        ('{"kind": "unet-edge benchmark", "schema": 2}', "has schema 2; this version reads up to"),
        ('{"kind": "unet-edge benchmark", "schema": 1}', "is malformed: "),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, error: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=error):
        read_result(path)
    with pytest.raises(ConfigError, match="cannot read"):
        read_result(tmp_path / "missing.json")


def test_runs_without_a_common_file_are_refused() -> None:
    before, after = made_up(0), made_up(1)
    with pytest.raises(ConfigError, match="no file ran in both runs"):
        compare(
            dataclasses.replace(before, files=before.files[:1]),
            dataclasses.replace(after, files=after.files[1:]),
        )


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ('"fast"', r"stages.infer is 'fast'"),
        ("0", "stages.infer is 0"),
        ("1e999", "stages.infer is inf"),
        ("1" + "0" * 400, "stages.infer is 1000"),
        ('1, "twice": 2', r"stages.twice does not belong there"),
    ],
)
def test_a_damaged_figure_is_named(tmp_path: Path, value: str, error: str) -> None:
    text = json.dumps(made_up(0).to_dict())
    (_, after) = text.split('"rounds": [{', 1)
    ms = after.split('"infer": ', 1)[1].split(",", 1)[0]
    path = tmp_path / "a.json"
    path.write_text(text.replace(f'"infer": {ms},', f'"infer": {value},', 1))
    with pytest.raises(ConfigError, match=rf"files\[0\].cost.rounds\[0\].{error}"):
        read_result(path)
