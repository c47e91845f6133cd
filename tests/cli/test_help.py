"""What --help, --help-all, --version and the Tab key show, and what they do not load."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import get_args

import click
import pytest
from click.testing import CliRunner

from converters.settings import ExportSettings
from unet_edge import __version__
from unet_edge.cli import SECTIONS, main
from unet_edge.cli.data import data
from unet_edge.cli.device import segment
from unet_edge.cli.training import train
from unet_edge.cli.workstation import export
from unet_edge.runtime import interpreters
from unet_edge.runtime.packages import Package
from unet_edge.runtime.tile_settings import Tiles


def page(*arguments: str, columns: int = 80) -> list[str]:
    """The lines of a help page on a terminal of this width."""
    done = CliRunner(env={"COLUMNS": str(columns)}).invoke(main, arguments, prog_name="unet-edge")
    assert done.exit_code == 0, done.output
    return done.output.splitlines()


def sections(lines: list[str]) -> dict[str, list[str]]:
    """The lines below each title."""
    found: dict[str, list[str]] = {}
    title = ""
    for line in lines:
        if re.fullmatch(r"[A-Z].*:", line):
            title = line.removesuffix(":")
        elif line.strip() and title:
            found.setdefault(title, []).append(line)
    return found


def named(lines: list[str]) -> list[str]:
    """The options or commands at the start of a section's lines."""
    return [line.split()[0].rstrip(",") for line in lines if re.match(r"  \S", line)]


class TestCommands:
    def test_each_is_listed_where_it_is_used(self) -> None:
        found = sections(page("--help"))
        assert named(found["Get started"]) == ["demo", "doctor"]
        assert named(found["On the workstation"]) == [
            "data", "train", "resume", "import", "evaluate", "export", "diagnose",
        ]  # fmt: skip
        device = ["segment", "verify", "benchmark", "compare", "tune", "inspect"]
        assert named(found["On the device"])[: len(device)] == device
        assert "Commands" not in found

    def test_each_has_its_summary_on_one_line(self) -> None:
        lines = page("--help")
        for section in SECTIONS.values():
            for name, command in section.items():
                assert f"  {name:9}  {command.summary}" in lines
        assert not [line for line in lines if line.endswith("...") and "Usage" not in line]

    def test_so_have_the_commands_of_data(self) -> None:
        lines = page("data", "--help")
        for name, command in data.commands.items():
            (line,) = (line for line in lines if line.startswith(f"  {name} "))
            assert line.endswith(".")
            assert not line.endswith("...")
            assert line.split(maxsplit=1)[1] == (command.help or "").splitlines()[0]

    def test_each_is_where_the_list_says(self) -> None:
        for section in SECTIONS.values():
            for name, lazy in section.items():
                command = lazy.load(name)
                assert command is main.get_command(click.Context(main), name)
                assert command.name == name

    def test_a_narrow_terminal_cuts_nothing(self) -> None:
        text = " ".join(" ".join(page("--help", columns=50)).split())
        for section in SECTIONS.values():
            for command in section.values():
                assert command.summary in text

    def test_an_unknown_name(self) -> None:
        done = CliRunner().invoke(main, ["sement"])
        assert done.exit_code == 2
        assert "No such command 'sement'" in done.output


class TestTrain:
    def test_the_short_help_has_what_most_people_need(self) -> None:
        found = sections(page("train", "--help"))
        options = named([line for line in found["Options"] if line.startswith("  -")])
        assert 10 <= len(options) <= 15
        assert {"--classes", "--masks", "--size", "--steps", "-o", "--set", "--config"} <= {
            *options
        }
        assert options[-2:] == ["--help-all", "-h"]
        assert set(found) == {"Options"}
        assert "'unet-edge train --help-all' shows all" in " ".join(found["Options"])

    def test_the_long_help_has_every_option_in_a_named_section(self) -> None:
        found = sections(page("train", "--help-all"))
        shown = [line for lines in found.values() for line in lines]
        for parameter in train.params:
            if isinstance(parameter, click.Option):
                for option in (*parameter.opts, *parameter.secondary_opts):
                    assert any(re.search(rf"{option}(?![\w-])", line) for line in shown), option
        assert "Options" not in found
        for title in ("Run", "Data", "Model", "Training", "Loss", "Augmentation"):
            assert len(named(found[title])) >= 5
        count = sum(len(named(lines)) for lines in found.values())
        assert count == sum(isinstance(each, click.Option) for each in train.params) + 1  # -h

    def test_no_line_is_cut(self) -> None:
        for option in ("--help", "--help-all"):
            lines = page("train", option)
            assert not [line for line in lines if line.rstrip().endswith("...")]


class TestThreads:
    @pytest.mark.parametrize("command", ["verify", "benchmark"])
    def test_commands_that_compare_files_do_not_use_the_tuned_number(self, command: str) -> None:
        text = " ".join(" ".join(page(command, "--help")).split())
        assert "[default: all processors, at most four]" in text
        assert "tuned]" not in text

    def test_commands_that_open_the_tuned_choice_say_when(self) -> None:
        for command, when in (
            ("segment", "for one photo without --file and --backend"),
            ("evaluate", "without --file and --all-files"),
        ):
            text = " ".join(" ".join(page(command, "--help")).split())
            assert f"[default: as tuned, {when}; else all processors, at most four]" in text


class TestDefaults:
    def test_those_of_export_come_from_its_settings(self) -> None:
        options = {option.name: option for option in export.params}
        settings = ExportSettings()
        for name in ("calibration", "check", "golden", "fine_tuning"):
            assert options[name].default == getattr(settings, name)
        formats = options["formats"]
        assert isinstance(formats, click.Option)
        assert (formats.help or "").endswith("[default: all but tflite-int16x8 and tflite-dynamic]")

    def test_those_of_tiles_come_from_their_settings(self) -> None:
        helps = {each.name: each.help for each in segment.params if isinstance(each, click.Option)}
        assert (helps["tile_overlap"] or "").endswith(f"[default: {Tiles().overlap:g}]")
        assert (helps["tile_scale"] or "").endswith(f"[default: {Tiles().scale:g}]")


# Prints the modules that a command line has loaded, and discards the command's own output.
LOADED = """
import io, json, os, sys
sys.argv = ["unet-edge", *sys.argv[1:]]
printed, sys.stdout = sys.stdout, io.TextIOWrapper(io.BytesIO())
from unet_edge.command import main
try:
    main()
except SystemExit:
    pass
json.dump([*sys.modules], printed)
"""


def loaded(*arguments: str, **environment: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *arguments],
        capture_output=True, text=True, check=True, env=os.environ | environment,
    )  # fmt: skip
    return set(json.loads(done.stdout))


COMMAND_MODULES = {lazy.module for section in SECTIONS.values() for lazy in section.values()}
INTERPRETERS = {"ai_edge_litert", "tflite_runtime", "onnxruntime", "openvino"}


class TestLoading:
    def test_the_list_of_commands_loads_none_of_them(self) -> None:
        found = loaded("--help")
        assert "unet_edge.cli" in found
        assert found.isdisjoint({*COMMAND_MODULES, "numpy", "PIL", "unet_edge.bundle.bundle"})

    def test_nor_does_the_completion_of_a_name(self) -> None:
        found = loaded(
            _UNET_EDGE_COMPLETE="bash_complete", COMP_WORDS="unet-edge se", COMP_CWORD="1"
        )
        assert "click.shell_completion" in found
        assert found.isdisjoint({*COMMAND_MODULES, "numpy", "PIL"})

    def test_versions_are_read_not_imported(self) -> None:
        found = loaded("--version")
        assert "importlib.metadata" in found
        assert found.isdisjoint({*INTERPRETERS, "numpy", "keras"})

    def test_the_help_of_train_needs_no_part_of_its_extra(self) -> None:
        extra = {"keras", "tensorflow", "matplotlib", "cattrs", "tomli_w"}
        assert loaded("train", "--help-all").isdisjoint(extra)

    def test_the_help_of_export_needs_no_part_of_its_extra(self) -> None:
        extra = {"keras", "tensorflow", "tf2onnx", "onnx", *INTERPRETERS}
        found = loaded("export", "--help")
        assert "converters.settings" in found
        assert found.isdisjoint(extra)

    def test_segment_loads_no_settings(self) -> None:
        found = loaded("segment", "--help")
        assert "unet_edge.cli.device" in found
        assert not [name for name in found if name.startswith("unet_edge.training")]
        assert "unet_edge.cli.settings" not in found


class TestVersion:
    def test_unet_edge_then_python_then_the_interpreters(self) -> None:
        installed = []
        for package in get_args(Package):
            try:
                installed.append(f"{package} {version(package)}")
            except PackageNotFoundError:
                continue
        own, python, *rest = page("--version")
        assert own == f"unet-edge, version {__version__}"
        assert python == f"Python {platform.python_version()}"
        assert sorted(rest) == sorted(installed)
        assert rest

    def test_without_an_interpreter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(interpreters, "version_of", lambda _: None)
        assert page("--version")[2:] == [
            "no interpreter is installed: 'unet-edge doctor' says which fits this machine"
        ]


def complete(shell: str, words: str, last: str) -> str:
    """The answer to a shell's completion script for the words typed so far."""
    environment = {
        "_UNET_EDGE_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": f"unet-edge {words}",
        "COMP_CWORD": last if shell == "fish" else str(len(words.split(" "))),
    }
    done = subprocess.run(
        [sys.executable, "-m", "unet_edge"],
        env=os.environ | environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


class TestCompletion:
    def test_the_name_of_a_command(self) -> None:
        assert complete("bash", "seg", "seg") == "plain,segment\n"
        assert complete("zsh", "seg", "seg").splitlines()[:2] == ["plain", "segment"]
        assert complete("fish", "seg", "seg").startswith("plain,segment\t")

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_an_option_that_only_the_long_help_shows(self, shell: str) -> None:
        assert "--learning-rate" in complete(shell, "train --learn", "--learn")

    def test_no_command_begins_like_that(self) -> None:
        assert not complete("bash", "xy", "xy").strip()

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_the_lines_of_the_help_print_a_script(self, shell: str) -> None:
        if shell == "bash" and not shutil.which("bash"):
            pytest.skip("bash is not installed, whose completion this tests")
        (line,) = (line for line in page("--help") if line.startswith(f"    {shell} "))
        (variable,) = re.findall(r"_UNET_EDGE_COMPLETE=\w+", line)
        assert line.count("unet-edge") == 1
        name, value = variable.split("=")
        done = subprocess.run(
            [sys.executable, "-m", "unet_edge"],
            env=os.environ | {name: value}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert f"{name}={shell}_complete" in done.stdout

    def test_bash_completes_after_that_line(self, tmp_path: Path) -> None:
        bash = shutil.which("bash")
        if not bash:
            pytest.skip("bash is not installed, whose completion this tests")
        command = tmp_path / "unet-edge"
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -m unet_edge "$@"\n')
        command.chmod(0o755)
        (line,) = (line for line in page("--help") if line.startswith("    bash "))
        script = f"""
{line.split(maxsplit=1)[1]}
COMP_WORDS=(unet-edge insp) COMP_CWORD=1
_unet_edge_completion unet-edge
echo "${{COMPREPLY[@]}}"
complete -p unet-edge
"""
        root = Path(__file__).parents[2]
        path = {
            "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(root),
        }
        done = subprocess.run(
            [bash, "--norc", "-c", script],
            env=os.environ | path, capture_output=True, text=True, check=True,
        )  # fmt: skip
        reply, registered = done.stdout.splitlines()
        assert reply == "inspect"
        assert registered.endswith("_unet_edge_completion unet-edge")
