"""Finding: one thing that is wrong, or looks wrong, with a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from unet_edge.errors import DataError
from unet_edge.system.printable import printable

Severity = Literal["error", "warning"]

Kind = Literal[
    "annotation",  # JSON that is malformed or names a missing picture or class
    "black-white-trap",  # 0 and 255 where class indices are expected: white would be ignored
    "blank-picture",
    "blurred-mask",  # values between the two of a black-and-white mask; lossy compression
    "class-absent",
    "class-in-one-split",
    "class-zero",  # class 0 was drawn, or a later class is called background
    "crowds",  # COCO regions with iscrowd, which CVAT's brush writes for objects
    "duplicate-across-splits",
    "duplicate-in-split",
    "empty-mask",
    "encoding",  # no rule reads the masks
    "exif-rotation",
    "ignored-mask",
    "layout",
    "listed-in-both",
    "listed-missing",
    "missing-mask",
    "missing-picture",
    "mixed-encoding",
    "name-clash",
    "near-duplicate",
    "several-frames",
    "sixteen-bit",
    "size-mismatch",
    "split",
    "split-missing",  # a picture of a run's split is missing
    "tiny-picture",
    "unknown-color",
    "unknown-value",
    "unlisted",  # in no split, so not used
    "unreadable-mask",
    "unreadable-picture",
]


@dataclass(frozen=True)
class Finding:
    """What was found in `file`, and how to fix it.

    An error prevents the use of the data; what a warning reports may be intended.
    """

    severity: Severity
    kind: Kind
    file: Path
    found: str
    fix: str

    def __str__(self) -> str:
        return printable(f"{self.file}: {self.found}; {self.fix}")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"file": str(self.file)}


def raise_errors(findings: Sequence[Finding]) -> None:
    """Raise one DataError that lists the errors among the findings, at most eight."""
    errors = [finding for finding in findings if finding.severity == "error"]
    if len(errors) == 1:
        file = printable(f"{errors[0].file}:")
        raise DataError(errors[0].found, fix=errors[0].fix, subject=file)
    if errors:
        listed = [f"  {error}" for error in errors[:8]]
        if more := len(errors) - len(listed):
            listed.append(f"  … and {more} more; 'unet-edge data check' lists them all")
        raise DataError.of_lines(f"{len(errors)} problems in the data:", *listed)
