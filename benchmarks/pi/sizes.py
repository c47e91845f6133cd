"""What an installation weighs: the bytes of the files that pip wrote, and of what it downloaded."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from benchmarks.pi.emulator import Machine
from benchmarks.pi.environments import Environment, site_packages

# What `python3 -m venv` puts there, whatever is installed next.
_VENV = ("pip", "setuptools", "wheel")
# Our command line's libraries; NumPy and Pillow are counted by themselves.
_OURS = ("unet-edge", "click", "tabulate", "tqdm")


@dataclass(frozen=True)
class Size:
    """Sizes in MB (10^6 bytes). `installed` has every file in the records, compiled ones too.

    `ours` is unet-edge with click, tabulate and tqdm, installed; `pip` is what the virtual
    environment holds before anything is installed, which `installed` leaves out.
    """

    downloaded: float
    installed: float
    ours: float
    pip: float
    packages: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def measure(here: Machine, environment: Environment) -> Size:
    """What stands in ~/venv, and the wheels that pip fetches for it, ours among them."""
    sizes = {}
    for found in distributions(path=[str(site_packages(here))]):
        name = re.sub(r"[-_.]+", "-", found.metadata["Name"]).lower()
        sizes[name] = _bytes(found) / 1e6
    pip = sum(sizes.pop(name, 0) for name in _VENV)
    wanted = f'"$(echo unet_edge-*.whl)[{environment.extra}]"'
    here.do(
        f"pip download --quiet --only-binary :all: --dest downloads {wanted}",
        environment.cpu,
        network=True,
    )
    wheels = (here.home / "downloads").iterdir()
    return Size(
        downloaded=sum(path.stat().st_size for path in wheels) / 1e6,
        installed=sum(sizes.values()),
        ours=sum(sizes.get(name, 0) for name in _OURS),
        pip=pip,
        packages=dict(sorted(sizes.items(), key=lambda pair: -pair[1])),
    )


def _bytes(found: Distribution) -> int:
    # An absolute path, so that what lies outside site-packages (bin/) is counted too.
    paths = (Path(str(path.locate())) for path in found.files or ())
    return sum(path.stat().st_size for path in paths if path.is_file())
