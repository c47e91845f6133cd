"""The guide as the emulated machines read it; typing it there is `make test-pi`."""

import re
import shlex

import pytest

from benchmarks.pi.environments import ENVIRONMENTS
from benchmarks.pi.guide import GUIDE, Block, blocks
from unet_edge.cli import main

TEXT = GUIDE.read_text("utf-8")
BOOKWORM, ARMHF = ENVIRONMENTS[0], ENVIRONMENTS[-1]


def test_blocks_have_the_heading_they_stand_under():
    text = "# A\n```sh\none\n# no heading\ntwo\n```\n## B\n```\nno shell\n```\n```sh\nthree\n```\n"
    assert blocks(text) == [Block("A", "one\n# no heading\ntwo\n"), Block("B", "three\n")]


def test_each_system_has_its_own_install_and_the_rest_in_common():
    of = {one.name: [b for b in blocks(TEXT) if b.concerns(one)] for one in (BOOKWORM, ARMHF)}
    only_64 = [b for b in of[BOOKWORM.name] if b not in of[ARMHF.name]]
    only_32 = [b for b in of[ARMHF.name] if b not in of[BOOKWORM.name]]
    assert [b.heading for b in only_64] == ["Install on 64 bits"]
    assert [b.heading for b in only_32] == ["Install on 32 bits"]
    assert "[litert]" in only_64[0].commands
    assert "[tflite]" in only_32[0].commands
    assert len(of[BOOKWORM.name]) > 6


def test_only_copying_is_left_to_the_workstation():
    rest = [b for b in blocks(TEXT) if not b.concerns(BOOKWORM) and not b.concerns(ARMHF)]
    assert [b.commands.splitlines()[1].split()[0] for b in rest] == ["scp"]


def test_no_block_of_commands_is_passed_over():
    assert TEXT.count("```") == 2 * len(blocks(TEXT)), "a fence that is not ```sh is not typed"


@pytest.mark.parametrize("line", sorted(set(re.findall(r"^(?:unet-edge .*)$", TEXT, re.MULTILINE))))
def test_its_commands_exist_with_these_options(line):
    words = shlex.split(line)[1:]
    command = main.get_command(None, words[0])
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known
