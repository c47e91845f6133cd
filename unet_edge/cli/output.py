"""Printing: lines, tables, JSON, contracts and bundles."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

from unet_edge.bundle.bundle import Bundle
from unet_edge.bundle.manifest import MANIFEST
from unet_edge.bundle.search_record import SearchRecord
from unet_edge.percent import percent
from unet_edge.spec import Decoding, ModelSpec, Output
from unet_edge.system.counting import counted
from unet_edge.system.files import json_text
from unet_edge.system.printable import printable

_OUTPUTS: dict[Output, str] = {
    "logits": "logits, a score for each class",
    "labels": "labels, the class of each pixel (no scores)",
}
_DECODINGS: dict[Decoding, str] = {
    "full": "full: pictures are decoded at their own size",
    "scaled": "scaled: the JPEG decoder reduces large photos by 2, 4 or 8",
}


def print_note(line: str) -> None:
    """Print a line on standard error, so that standard output holds the result alone."""
    text = line.lstrip("\n")
    click.echo("\n" * (len(line) - len(text)) + printable(text), err=True)


def print_line(line: str) -> None:
    """Print a line on standard output; characters that a terminal would obey are escaped."""
    click.echo(printable(line))


def print_json(data: Any) -> None:
    """Print JSON on standard output, in ASCII if the stream's encoding is not UTF-8."""
    text = json_text(data)
    if not text.isascii() and (sys.stdout.encoding or "").lower().replace("-", "") != "utf8":
        text = json.dumps(json.loads(text), indent=2) + "\n"
    click.echo(text, nl=False)


def print_table(
    rows: Iterable[Sequence[Any]], headers: Sequence[str] = (), floats: str = ".4f"
) -> None:
    """Print rows in columns; `floats` is the format of floating-point numbers."""
    from tabulate import tabulate  # late: `segment` writes its masks first

    click.echo(tabulate(_cells(rows), headers, floatfmt=floats, tablefmt="simple", missingval="-"))


def print_texts(rows: Iterable[Sequence[str]], headers: Sequence[str]) -> None:
    """Print texts in columns, unchanged even if they look like numbers."""
    from tabulate import tabulate

    click.echo(tabulate(_cells(rows), headers, tablefmt="simple", disable_numparse=True))


def _cells(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    return [[printable(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]


def print_spec(spec: ModelSpec) -> None:
    """Print a contract as a table."""
    print_table(
        [
            ("name", spec.name),
            ("input", f"{spec.height}x{spec.width} px (height x width), RGB uint8"),
            ("fit", f"{spec.fit}, {spec.resample}, padding {spec.pad_color}"),
            ("decoding", _DECODINGS[spec.decoding]),
            *([("bit depth", spec.bit_depth)] if spec.bit_depth else []),
            ("orientation", "upright by EXIF"),
            ("normalisation", f"(pixel - {spec.normalisation.mean}) / {spec.normalisation.std}"),
            ("output", _OUTPUTS[spec.output]),
            *(
                (f"class {index}", f"{name}  #{bytes(color).hex()}")
                for index, (name, color) in enumerate(zip(spec.classes, spec.palette, strict=True))
            ),
        ],
    )


def print_bundle(bundle: Bundle, as_json: bool) -> None:
    """Print a bundle's contract and its files, with the figures measured at export."""
    if as_json:
        print_json({"path": str(bundle.path), "digest": bundle.digest, **bundle.to_dict()})
        return
    print_spec(bundle.spec)
    click.echo()
    test = bundle.test
    labelled = bundle.reference.label_iou is not None
    rows = [
        (
            entry.name,
            f"{entry.bytes / 1e6:.2f}",
            f"{percent(entry.agreement)} %",
            f"{percent(entry.floor)} %",
            f"{entry.mask_miou:.4f}",
            *([_miou(entry.label_miou)] if labelled else []),
            *([_miou(test.files[index].label_miou)] if test else []),
            "ok" if entry.kept_floor else "BELOW FLOOR",
            entry.sha256[:12],
        )
        for index, entry in enumerate(bundle.files)
    ]
    headers = ["file", "MB", "pixels as Keras", "floor", "mask mIoU"]
    headers += ["label mIoU"] if labelled else []
    print_texts(rows, [*headers, *(["test mIoU"] if test else []), "", "SHA-256"])
    click.echo(
        "mask mIoU is against Keras' masks"
        + (", label mIoU against the true labels" if labelled else "; no picture had true labels")
    )
    if bundle.search:
        _print_search(bundle.search)
    click.echo(f"measured on {bundle.processor}")
    reference = bundle.reference
    click.echo(
        (
            f"Keras itself: label mIoU {_miou(reference.label_miou)} on "
            if labelled
            else "proven on "
        )
        + counted(reference.pictures, "validation picture" if test else "held-out picture")
        + (
            f", {_miou(test.keras.label_miou)} on {counted(test.pictures, 'test picture')}"
            if test
            else ""
        )
        + f"; {counted(len(bundle.golden), 'golden picture')} in {bundle.path}"
    )
    click.echo(f"the bundle's digest (SHA-256 of {MANIFEST}): {bundle.digest}")


def _miou(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _print_search(search: SearchRecord) -> None:
    """Print the recipes that a search tried, the fastest first."""
    drop = search.max_miou_drop
    click.echo(
        f"\nsearched for {percent(search.min_agreement)} % of pixels as Keras"
        + ("" if drop is None else f" and at most {drop} points of mIoU lost")
        + ", timed on the workstation:"
    )
    rows = [
        (
            candidate.recipe,
            f"{percent(candidate.agreement)} %",
            "-" if candidate.miou_drop is None else f"{candidate.miou_drop:.2f}",
            f"{candidate.ms:.2f}",
            f"{candidate.bytes / 1e6:.2f}",
            "yes" if candidate.pareto else "",
            "kept" if candidate.kept else "holds" if candidate.holds else "does not hold",
        )
        for candidate in sorted(search.candidates, key=lambda candidate: candidate.ms)
    ]
    headers = ["recipe", "pixels as Keras", "mIoU drop", "ms", "MB", "on the front", ""]
    print_texts(rows, headers)
    in_float = [name for c in search.candidates if c.kept for name in c.float_layers]
    if in_float:
        click.echo(f"in float32: {', '.join(in_float)}")
    if search.errors:
        worst = ["+".join(error.layers) for error in search.errors[:3]]
        click.echo(f"layers with the largest error in int8: {', '.join(worst)}")
    click.echo()
