"""Latency for the model card, from a report that 'unet-edge benchmark' wrote."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from unet_edge.errors import ConfigError
from unet_edge.system.files import read_regular

_MOST_REPORT = 2**20
"""Bytes of a report that is read; ours have about 10 kB."""


@dataclass(frozen=True)
class Latency:
    """What files cost on one machine: `p50_ms` by the files' SHA-256, whole picture, median."""

    machine: str
    date: str
    threads: int
    pictures: int
    p50_ms: dict[str, float]


def read_latency(path: Path) -> Latency:
    """Read a benchmark's report, JSON. Raises ConfigError when it is none."""
    try:
        report = json.loads(read_regular(path, _MOST_REPORT))
        return Latency(
            machine=str(report["machine"]["model"]),
            date=str(report["date"]),
            threads=int(report["threads"]),
            pictures=int(report["pictures"]),
            p50_ms={
                str(row["sha256"]): float(row["cost"]["stages"]["total"]["p50"])
                for row in report["files"]
                if row["cost"]
            },
        )
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(
            f"{path} is no report of 'unet-edge benchmark' ({error!r})",
            fix=f"write one with: unet-edge benchmark BUNDLE -o {path}",
        ) from error
