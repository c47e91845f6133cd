"""The limit of `threads`, in the API and in every command."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from unet_edge import Bundle, Segmenter
from unet_edge.benchmarking.autotune import tune
from unet_edge.benchmarking.measurement import measure_bundle
from unet_edge.cli import main
from unet_edge.errors import ConfigError
from unet_edge.runtime.threads import MOST_THREADS, default_threads, most_threads, thread_count


def test_the_processors_are_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    for processors, most in ((None, 4), (1, 4), (4, 4), (64, 64)):
        monkeypatch.setattr(os, "cpu_count", lambda count=processors: count)
        assert most_threads() == most
        assert thread_count(most) == most
        for wrong in (most + 1, 1_000_000, 0, -1):
            with pytest.raises(
                ConfigError, match=f"threads is {wrong}; it must be from 1 to {most} "
            ):
                thread_count(wrong)
    assert 1 <= thread_count(None) <= MOST_THREADS


def test_the_default_is_the_number_of_usable_processors_at_most_four(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(3)), raising=False)
    assert default_threads() == 3
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert default_threads() == 4
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert default_threads() == 1


@pytest.mark.parametrize(
    "command", [("segment", "PHOTO"), ("verify",), ("benchmark",), ("tune",)], ids=lambda c: c[0]
)
@pytest.mark.parametrize("where", ["bundle", "tflite", "onnx"])
def test_every_command_refuses_a_million(
    bundle_path: Path, sample_data: Path, command: tuple[str, ...], where: str, tmp_path: Path
) -> None:
    name, *more = command
    if where != "bundle" and name != "segment":
        return
    model = bundle_path if where == "bundle" else bundle_path / f"model-int8.{where}"
    photos = [str(sample_data / "images") for _ in more]
    output = ["-o", str(tmp_path / "out")] if name in ("segment", "benchmark") else []
    arguments = [name, str(model), *photos, *output, "--threads", "1000000"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1, result.output
    assert "error: threads is 1000000; it must be from 1 to" in result.output
    assert not (tmp_path / "out").exists()


def test_the_api_refuses_a_million(bundle_path: Path) -> None:
    for opening in (
        lambda: Segmenter.open(bundle_path, threads=1_000_000),
        lambda: Segmenter.open(bundle_path / "model-float32.onnx", threads=1_000_000),
        lambda: measure_bundle(Bundle.open(bundle_path), threads=1_000_000),
        lambda: tune(Bundle.open(bundle_path), threads=1_000_000),
    ):
        with pytest.raises(ConfigError, match="threads is 1000000"):
            opening()


def test_the_threads_of_onnx_runtime_do_not_spin_between_runs(bundle_path: Path) -> None:
    segmenter = Segmenter.open(bundle_path, file="model-float32.onnx", threads=2)
    session = segmenter.backend._session  # type: ignore[attr-defined]
    options = session.get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
