"""The guide's blocks of commands, which `make test-pi` types on emulated machines."""

import re
import shlex

import pytest

from benchmarks.pi.check import GUIDED
from benchmarks.pi.environments import ENVIRONMENTS
from benchmarks.pi.guide import GUIDE, Block, blocks, typed, with_systemd
from unet_edge.cli import main

TEXT = GUIDE.read_text("utf-8")
BY_NAME = {environment.name: environment for environment in ENVIRONMENTS}
BOOKWORM, APT, ARMHF = (BY_NAME[n] for n in ("bookworm-litert", "bookworm-apt", "bookworm-armhf"))


def test_blocks_have_the_heading_above_them():
    text = "# A\n```sh\none\n# no heading\ntwo\n```\n## B\n```\nno shell\n```\n```sh\nthree\n```\n"
    assert blocks(text) == [Block("A", "one\n# no heading\ntwo\n"), Block("B", "three\n")]


def test_systems_differ_in_the_block_that_installs_only():
    systems = (BOOKWORM, APT, ARMHF)
    by_system = [[b for b in blocks(TEXT) if b.concerns(system)] for system in systems]
    common = [block for block in by_system[0] if all(block in chosen for chosen in by_system[1:])]
    assert len(common) > 5
    installs = [[block for block in chosen if block not in common] for chosen in by_system]
    assert [[block.heading for block in own] for own in installs] == [
        ["Install on 64 bits"], ["Install on 64 bits, lighter"], ["Install on 32 bits"],
    ]  # fmt: skip
    for (block,), system in zip(installs, systems, strict=True):
        assert f"[{system.extra}]" in block.commands
        assert set(system.packages) <= set(block.commands.split())


def test_the_guide_names_the_other_requirements_for_pip():
    required = [(each.extra, each.also) for each in ENVIRONMENTS if each.also]
    assert required
    assert all(f"[{extra}]\" '{also}'" in TEXT for extra, also in required)


def test_every_block_is_typed_but_those_of_the_workstation_and_of_cameras():
    guided = [with_systemd(BY_NAME[name]) for name in GUIDED]
    untyped = [b for b in blocks(TEXT) if not any(b.concerns(system) for system in guided)]
    reasons = [block.commands.splitlines()[0] for block in untyped]
    assert reasons == ["# on the workstation", *["# with a camera"] * (len(untyped) - 1)]
    assert len(untyped) < 7


def test_servers_are_stopped():
    script = typed([Block("", "one\nunet-edge live pattern bundle\n"), Block("", "two\n")])
    stopped = "timeout --signal=INT 60 unet-edge live pattern bundle || test $? = 124"
    assert script == f"one\n{stopped}\ntwo\n"


def test_every_block_of_the_guide_is_a_block_of_commands():
    assert TEXT.count("```") == 2 * len(blocks(TEXT)), "a fence that is not ```sh is not typed"


@pytest.mark.parametrize("line", sorted(set(re.findall(r"^(?:unet-edge .*)$", TEXT, re.MULTILINE))))
def test_the_guides_commands_and_options_exist(line):
    words = shlex.split(line)[1:]
    command = main.get_command(None, words[0])
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known
