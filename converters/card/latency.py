"""Latency for the model card, from a report of `unet-edge benchmark`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from unet_edge.errors import ConfigError
from unet_edge.system.files import read_regular

_MOST_REPORT = 2**24
"""The most bytes of a report to read; seven models in six rounds have about 20 kB."""


@dataclass(frozen=True)
class Latency:
    """Times on one machine.

    `p50_ms`: the median from picture file to mask, by the SHA-256 of the model file.
    """

    machine: str
    date: str
    threads: int
    pictures: int
    p50_ms: dict[str, float]


def read_latency(path: Path) -> Latency:
    """Read a benchmark's JSON report. Raises ConfigError if the file is not one.

    Of a file with several interpreters or numbers of threads, the first one counts.
    """
    try:
        report = json.loads(read_regular(path, _MOST_REPORT))
        p50_ms: dict[str, float] = {}
        for row in report["files"]:
            if row["cost"]:
                p50 = float(row["cost"]["stages"]["total"]["p50"])
                p50_ms.setdefault(str(row["sha256"]), p50)
        return Latency(
            machine=str(report["machine"]["model"]),
            date=str(report["date"]),
            threads=int(report["threads"][0]),
            pictures=int(report["pictures"]),
            p50_ms=p50_ms,
        )
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(
            f"{path} is not a report of 'unet-edge benchmark' ({error!r})",
            fix=f"run: unet-edge benchmark BUNDLE -o {path}",
        ) from error
