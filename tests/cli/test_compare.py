"""`unet-edge compare`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator
from made_up_benchmarks import FILES, made_up

from unet_edge.cli import main


@pytest.fixture
def runs(tmp_path: Path) -> tuple[str, str]:
    paths = tmp_path / "before.json", tmp_path / "after.json"
    planted = {(FILES[1], "decode"): 1.5}  # 2 of 18 ms more: a ninth
    for path, result in zip(paths, (made_up(0), made_up(1, planted)), strict=True):
        path.write_text(json.dumps(result.to_dict()))
    return str(paths[0]), str(paths[1])


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["compare", *words])


def test_the_table_names_the_stage(runs: tuple[str, str]) -> None:
    result = run(*runs)
    assert result.exit_code == 0, result.output
    lines = {line.split()[0]: line for line in result.output.splitlines() if "model-" in line}
    assert "slower" in lines[FILES[1]]
    assert "  decode 1." in lines[FILES[1]]
    for name in (FILES[0], FILES[2]):
        assert "no difference" in lines[name]


def test_markdown_and_the_status_for_ci(runs: tuple[str, str]) -> None:
    result = run(*runs, "--markdown", "--fail-on-slowdown", "5%")
    assert result.exit_code == 1
    assert result.output.startswith("| file ")
    assert f"{FILES[1]} takes 1" in result.output
    assert "% longer, more than 5.0%" in result.output
    assert run(*runs, "--fail-on-slowdown", "0.2").exit_code == 0
    assert run(*runs[::-1], "--fail-on-slowdown", "5%").exit_code == 0  # it became faster


def test_json(runs: tuple[str, str]) -> None:
    found = json.loads(run(*runs, "--json").output)
    slower = [(d["file"], d["stage"]) for d in found["differences"] if d["significant"]]
    assert slower == [(FILES[1], "total"), (FILES[1], "decode")]


def test_a_file_that_fails_now_fails_ci(tmp_path: Path) -> None:
    paths = tmp_path / "before.json", tmp_path / "after.json"
    before, after = made_up(0), made_up(1)
    broken = dataclasses.replace(after.files[0], cost=None, error="no \x1b[2J interpreter")
    after = dataclasses.replace(after, files=(broken, *after.files[1:]), void=(2,))
    for path, result in zip(paths, (before, after), strict=True):
        path.write_text(json.dumps(result.to_dict()))
    result = run(*map(str, paths), "--fail-on-slowdown", "5%")
    assert result.exit_code == 1
    assert f"- {FILES[0]} ran in the first run only: no " in result.output
    assert "\x1b" not in result.output
    assert "- second run: the machine was throttled or slower in round 3 of 6" in result.output
    assert run(*map(str, paths)).exit_code == 0


def test_errors_are_one_line(runs: tuple[str, str], tmp_path: Path) -> None:
    for words, error in (
        ((runs[0], str(tmp_path / "none.json")), "cannot read"),
        ((*runs, "--json", "--markdown"), "--json and --markdown exclude each other"),
        ((*runs, "--fail-on-slowdown", "much"), "'much' is not a share; write 5% or 0.05"),
    ):
        result = run(*words)
        assert result.exit_code != 0
        assert error in result.output
        assert "Traceback" not in result.output


def test_figures_hold_to_the_published_schema() -> None:
    """By jsonschema, which the device does not have."""
    printed = CliRunner().invoke(main, ["benchmark", "--schema"]).output
    schema = json.loads(printed)
    Draft202012Validator.check_schema(schema)
    figures = json.loads(json.dumps(made_up(0).to_dict()))
    Draft202012Validator(schema).validate(figures)
