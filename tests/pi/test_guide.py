"""The guide as the emulated machines read it; typing it there is `make test-pi`."""

import re
import shlex

import pytest

from benchmarks.pi.check import GUIDED
from benchmarks.pi.environments import ENVIRONMENTS
from benchmarks.pi.guide import GUIDE, Block, blocks, with_systemd
from unet_edge.cli import main

TEXT = GUIDE.read_text("utf-8")
NAMED = {one.name: one for one in ENVIRONMENTS}
BOOKWORM, APT, ARMHF = (NAMED[n] for n in ("bookworm-litert", "bookworm-apt", "bookworm-armhf"))


def test_blocks_have_the_heading_they_stand_under():
    text = "# A\n```sh\none\n# no heading\ntwo\n```\n## B\n```\nno shell\n```\n```sh\nthree\n```\n"
    assert blocks(text) == [Block("A", "one\n# no heading\ntwo\n"), Block("B", "three\n")]


def test_each_system_has_its_own_install_and_the_rest_in_common():
    of = [[b for b in blocks(TEXT) if b.concerns(one)] for one in (BOOKWORM, APT, ARMHF)]
    common = [block for block in of[0] if block in of[1] and block in of[2]]
    assert len(common) > 5
    installs = [[block for block in chosen if block not in common] for chosen in of]
    assert [[block.heading for block in own] for own in installs] == [
        ["Install on 64 bits"], ["Install on 64 bits, lighter"], ["Install on 32 bits"],
    ]  # fmt: skip
    for (block,), one in zip(installs, (BOOKWORM, APT, ARMHF), strict=True):
        assert f"[{one.extra}]" in block.commands
        assert set(one.packages) <= set(block.commands.split())


def test_what_else_pip_is_asked_for_stands_in_the_guide():
    asked = [(one.extra, one.also) for one in ENVIRONMENTS if one.also]
    assert asked
    assert all(f"[{extra}]\" '{also}'" in TEXT for extra, also in asked)


def test_all_but_copying_is_typed_in_the_environments_that_the_check_guides():
    guided = [with_systemd(NAMED[name]) for name in GUIDED]
    rest = [b for b in blocks(TEXT) if not any(b.concerns(one) for one in guided)]
    assert [b.commands.splitlines()[1].split()[0] for b in rest] == ["scp"]


def test_no_block_of_commands_is_passed_over():
    assert TEXT.count("```") == 2 * len(blocks(TEXT)), "a fence that is not ```sh is not typed"


@pytest.mark.parametrize("line", sorted(set(re.findall(r"^(?:unet-edge .*)$", TEXT, re.MULTILINE))))
def test_its_commands_exist_with_these_options(line):
    words = shlex.split(line)[1:]
    command = main.get_command(None, words[0])
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known
