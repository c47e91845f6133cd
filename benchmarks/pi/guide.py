"""The guide's commands, typed on an emulated Raspberry Pi in the order they stand there."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.pi.emulator import EmulationError, Machine
from benchmarks.pi.environments import Environment

GUIDE = Path(__file__).parents[2] / "docs" / "raspberry-pi.md"
# What the guide uses and Debian has; a Raspberry Pi OS has it from the start.
PACKAGES = ("systemd",)
_SHIMS = Path(__file__).with_name("shims")
_FENCE_OR_HEADING = re.compile(
    r"^```(?:sh\n(.*?)|.*?)^```$|^#+ ([^\n]+)$", re.MULTILINE | re.DOTALL
)
_WORKSTATION = "# on the workstation\n"


@dataclass(frozen=True)
class Block:
    """Commands of one code block and the heading that they stand under."""

    heading: str
    commands: str

    def concerns(self, environment: Environment) -> bool:
        """Whether someone with this system would type it on the Pi."""
        if self.commands.startswith(_WORKSTATION):
            return False
        bits = re.search(r"on (\d\d) bits(, lighter)?", self.heading)
        if bits is None:
            return True
        if bits[1] != {"arm64": "64", "armhf": "32"}[environment.architecture]:
            return False
        # On 64 bits there are two ways.
        return bits[1] == "32" or bool(bits[2]) == environment.sees_the_system


def blocks(text: str) -> list[Block]:
    """Every block of shell commands in Markdown."""
    found, heading = [], ""
    for match in _FENCE_OR_HEADING.finditer(text):
        if match[2] is not None:
            heading = match[2]
        elif match[1] is not None:
            found.append(Block(heading, match[1]))
    return found


def with_systemd(environment: Environment) -> Environment:
    """An environment whose root file system has what the guide needs too."""
    return replace(environment, packages=(*environment.packages, *PACKAGES))


def follow(here: Machine, environment: Environment) -> int:
    """Type what concerns `environment`, as one session; how many blocks that were.

    In /home/pi lie the bundle and the wheel already, as `scp` would have left them. Raises
    EmulationError where a command's status is not 0.
    """
    chosen = [one for one in blocks(GUIDE.read_text("utf-8")) if one.concerns(environment)]
    (here.home / "guide.sh").write_text("".join(one.commands for one in chosen))
    done = here.run(
        "rm -f /etc/systemd/system/unet-edge.*; exec bash -e -o pipefail -x guide.sh",
        environment.cpu,
        network=True,
        mounts={"/usr/local/bin": _SHIMS},
    )
    (here.home / "guide.log").write_text(done.stdout + done.stderr)
    if done.returncode:
        words = f"{done.stdout}{done.stderr}".strip()[-3000:]
        raise EmulationError(f"the guide's commands end with {done.returncode}\n{words}")
    return len(chosen)
