"""Type the guide's commands on an emulated Raspberry Pi, in the guide's order."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.pi.emulator import EmulationError, Machine
from benchmarks.pi.environments import Environment

GUIDE = Path(__file__).parents[2] / "docs" / "raspberry-pi.md"
# Packages that the guide uses. A Raspberry Pi OS has them; a bare Debian does not.
PACKAGES = ("systemd",)
_SHIMS = Path(__file__).with_name("shims")
_FENCE_OR_HEADING = re.compile(
    r"^```(?:sh\n(.*?)|.*?)^```$|^#+ ([^\n]+)$", re.MULTILINE | re.DOTALL
)
# Blocks that begin so are not typed: the emulated machine is no workstation and has no camera.
_ELSEWHERE = ("# on the workstation\n", "# with a camera\n")
# A server serves until it is stopped. So it is given a minute, in which it must not fail.
_SERVER = re.compile(r"^(unet-edge (?:live|serve) .*)$", re.MULTILINE)
_STOPPED = r"timeout --signal=INT 60 \1 || test $? = 124"


@dataclass(frozen=True)
class Block:
    """The commands of one code block, and the heading above it."""

    heading: str
    commands: str

    def concerns(self, environment: Environment) -> bool:
        """Whether a user with this system types it on the Pi."""
        if self.commands.startswith(_ELSEWHERE):
            return False
        bits = re.search(r"on (\d\d) bits(, lighter)?", self.heading)
        if bits is None:
            return True
        if bits[1] != {"arm64": "64", "armhf": "32"}[environment.architecture]:
            return False
        # On 64 bits there are two ways to install.
        return bits[1] == "32" or bool(bits[2]) == environment.sees_the_system


def blocks(text: str) -> list[Block]:
    """Every block of shell commands in a Markdown text."""
    commands, heading = [], ""
    for match in _FENCE_OR_HEADING.finditer(text):
        if match[2] is not None:
            heading = match[2]
        elif match[1] is not None:
            commands.append(Block(heading, match[1]))
    return commands


def typed(chosen: list[Block]) -> str:
    """The script that types the blocks; servers are stopped after a minute."""
    return _SERVER.sub(_STOPPED, "".join(block.commands for block in chosen))


def with_systemd(environment: Environment) -> Environment:
    """The same environment with the packages that the guide uses."""
    return replace(environment, packages=(*environment.packages, *PACKAGES))


def follow(here: Machine, environment: Environment) -> int:
    """Type the blocks for `environment` in one session; returns their number.

    The bundle and the wheel must be in /home/pi, where the guide's `scp` puts them. Raises
    EmulationError if a command fails.
    """
    chosen = [block for block in blocks(GUIDE.read_text("utf-8")) if block.concerns(environment)]
    (here.home / "guide.sh").write_text(typed(chosen))
    done = here.run(
        "rm -f /etc/systemd/system/unet-edge.*; exec bash -e -o pipefail -x guide.sh",
        environment.cpu,
        network=True,
        mounts={"/usr/local/bin": _SHIMS},
    )
    (here.home / "guide.log").write_text(done.stdout + done.stderr)
    if done.returncode:
        output = f"{done.stdout}{done.stderr}".strip()[-3000:]
        raise EmulationError(f"the guide's commands exit with {done.returncode}\n{output}")
    return len(chosen)
