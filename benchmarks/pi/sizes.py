"""What an installation weighs: every file that pip and apt wrote, and all that they fetched."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from shlex import quote
from typing import Any

from benchmarks.pi.debs import fetched, unpacked
from benchmarks.pi.emulator import Machine
from benchmarks.pi.environments import INSTALLED, Environment, site_packages

# What `python3 -m venv` puts there, whatever is installed next.
_VENV = ("pip", "setuptools", "wheel")
# Our command line's libraries; NumPy and Pillow are counted by themselves.
_OURS = ("unet-edge", "click", "tabulate", "tqdm")
# The same where they are Debian's: its click asks for colorama.
_OURS_BY_APT = re.compile(r"[/-](click|colorama|tabulate|tqdm)[-./]")


@dataclass(frozen=True)
class Weight:
    """MB (10^6 bytes) by pip, in the virtual environment, and by apt, in the system."""

    pip: float
    apt: float

    @property
    def total(self) -> float:
        """Both."""
        return self.pip + self.apt


@dataclass(frozen=True)
class Size:
    """Sizes in MB (10^6 bytes). `installed` has every file, compiled ones too.

    What apt fetches and writes is what it does on a Debian of nothing but Python with venv.
    `ours` is unet-edge with click, tabulate and tqdm, installed; `empty` is what the virtual
    environment holds before anything is installed, which `installed` leaves out.
    """

    downloaded: Weight
    installed: Weight
    ours: float
    empty: float
    packages: dict[str, float]  # installed by pip
    wheels: dict[str, float]  # downloaded
    debs: dict[str, float]  # downloaded

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def measure(here: Machine, environment: Environment) -> Size:
    """What stands in ~/venv, what it sees of Debian's, and what was fetched for both."""
    sizes = {}
    for found in distributions(path=[str(site_packages(here))]):
        name = re.sub(r"[-_.]+", "-", found.metadata["Name"]).lower()
        sizes[name] = _bytes(found) / 1e6
    empty = sum(sizes.pop(name, 0) for name in _VENV)
    files = unpacked(here, environment)
    ours_by_apt = sum(size for name, size in files.items() if _OURS_BY_APT.search(name)) / 1e6
    wheels, debs = _wheels(here, environment), _megabytes(fetched(environment))
    return Size(
        downloaded=Weight(sum(wheels.values()), sum(debs.values())),
        installed=Weight(sum(sizes.values()), sum(files.values()) / 1e6),
        ours=sum(sizes.get(name, 0) for name in _OURS) + ours_by_apt,
        empty=empty,
        packages=_largest_first(sizes),
        wheels=wheels,
        debs=debs,
    )


def _wheels(here: Machine, environment: Environment) -> dict[str, float]:
    """MB of each wheel that pip installed, by its report: it downloads them once more."""
    report = json.loads((here.home / INSTALLED).read_text("utf-8"))
    addresses = [one["download_info"]["url"] for one in report["install"]]
    here.do(
        "pip download --quiet --no-deps --only-binary :all: --dest downloads "
        + " ".join(quote(address) for address in addresses),
        environment.cpu,
        network=True,
    )
    found = {path.name: path.stat().st_size for path in (here.home / "downloads").iterdir()}
    assert len(found) == len(addresses), (found, addresses)
    return _megabytes(found)


def _megabytes(sizes: dict[str, int]) -> dict[str, float]:
    return _largest_first({name: size / 1e6 for name, size in sizes.items()})


def _largest_first(sizes: dict[str, float]) -> dict[str, float]:
    return dict(sorted(sizes.items(), key=lambda pair: -pair[1]))


def _bytes(found: Distribution) -> int:
    # An absolute path, so that what lies outside site-packages (bin/) is counted too.
    paths = (Path(str(path.locate())) for path in found.files or ())
    return sum(path.stat().st_size for path in paths if path.is_file())
