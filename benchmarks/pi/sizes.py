"""The size of an installation: the files that pip and apt write, and those that they fetch."""

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

# Packages that `python3 -m venv` itself installs.
_VENV = ("pip", "setuptools", "wheel")
# unet-edge with its command line's libraries; NumPy and Pillow are counted separately.
_OURS = ("unet-edge", "click", "tabulate", "tqdm")
# The same libraries as Debian's packages; Debian's click depends on colorama.
_OURS_BY_APT = re.compile(r"[/-](click|colorama|tabulate|tqdm)[-./]")


@dataclass(frozen=True)
class Weight:
    """MB (10^6 bytes): of pip in the virtual environment, and of apt in the system."""

    pip: float
    apt: float

    @property
    def total(self) -> float:
        """The sum of both."""
        return self.pip + self.apt


@dataclass(frozen=True)
class Size:
    """Sizes in MB (10^6 bytes).

    `installed` counts every file, compiled ones too. apt's sizes are those on a Debian with only
    Python and venv. `ours` is unet-edge with click, tabulate and tqdm, installed. `empty` is the
    virtual environment before anything is installed; `installed` does not count it.
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
    """Measure ~/venv, the Debian packages that it imports, and the downloads for both."""
    sizes = {}
    for distribution in distributions(path=[str(site_packages(here))]):
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
        sizes[name] = _bytes(distribution) / 1e6
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
    """MB of each wheel that pip's report lists as installed; downloads them again."""
    report = json.loads((here.home / INSTALLED).read_text("utf-8"))
    addresses = [package["download_info"]["url"] for package in report["install"]]
    here.do(
        "pip download --quiet --no-deps --only-binary :all: --dest downloads "
        + " ".join(quote(address) for address in addresses),
        environment.cpu,
        network=True,
    )
    wheels = {path.name: path.stat().st_size for path in (here.home / "downloads").iterdir()}
    assert len(wheels) == len(addresses), (wheels, addresses)
    return _megabytes(wheels)


def _megabytes(sizes: dict[str, int]) -> dict[str, float]:
    return _largest_first({name: size / 1e6 for name, size in sizes.items()})


def _largest_first(sizes: dict[str, float]) -> dict[str, float]:
    return dict(sorted(sizes.items(), key=lambda pair: -pair[1]))


def _bytes(distribution: Distribution) -> int:
    # Absolute paths: files outside site-packages (bin/) count too.
    paths = (Path(str(path.locate())) for path in distribution.files or ())
    return sum(path.stat().st_size for path in paths if path.is_file())
