"""What commands print: lines, tables, JSON, contracts and bundles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import click

from unet_edge.bundle import Bundle
from unet_edge.files import json_text
from unet_edge.spec import ModelSpec


def say(line: str) -> None:
    """Print something worth knowing on standard error, so that --json stays JSON."""
    click.echo(line, err=True)


def print_json(data: Any) -> None:
    """Print JSON on standard output."""
    click.echo(json_text(data), nl=False)


def print_table(
    rows: Iterable[Sequence[Any]], headers: Sequence[str] = (), floats: str = ".4f"
) -> None:
    """Print rows in columns; `floats` formats the numbers with a fraction."""
    from tabulate import tabulate  # here: `segment` writes its masks before it waits for it

    click.echo(tabulate(list(rows), headers, floatfmt=floats, tablefmt="simple", missingval="-"))


def print_spec(spec: ModelSpec) -> None:
    """Print a contract as a table."""
    print_table(
        [
            ("name", spec.name),
            ("input", f"{spec.height}x{spec.width} px (height x width), {spec.color_order} uint8"),
            ("fit", f"{spec.fit}, {spec.resample}, padding {spec.pad_color}"),
            ("orientation", spec.orientation),
            ("normalisation", f"(pixel - {spec.normalisation.mean}) / {spec.normalisation.std}"),
            ("output", spec.output),
            *(
                (f"class {index}", f"{name}  #{bytes(color).hex()}")
                for index, (name, color) in enumerate(zip(spec.classes, spec.palette, strict=True))
            ),
        ],
    )


def print_bundle(bundle: Bundle, as_json: bool) -> None:
    """Print a bundle's contract and its files with what was measured at export."""
    if as_json:
        print_json({"path": str(bundle.path), **bundle.to_dict()})
        return
    print_spec(bundle.spec)
    click.echo()
    rows = [
        (
            entry.name,
            f"{entry.bytes / 1e6:.2f}",
            f"{entry.agreement:.4%}",
            f"{entry.floor:.3%}",
            f"{entry.mask_miou:.4f}",
            "-" if entry.label_miou is None else f"{entry.label_miou:.4f}",
            "ok" if entry.kept_floor else "UNDER FLOOR",
            entry.sha256[:12],
        )
        for entry in bundle.files
    ]
    headers = ["file", "MB", "pixels as Keras", "floor", "mask mIoU", "label mIoU", "", "SHA-256"]
    from tabulate import tabulate

    # As text throughout: tabulate would drop the digits that matter.
    click.echo(tabulate(rows, headers, tablefmt="simple", disable_numparse=True))
    reference = bundle.reference
    keras_miou = "-" if reference.label_miou is None else f"{reference.label_miou:.4f}"
    click.echo(
        f"Keras itself: label mIoU {keras_miou}; measured on {reference.pictures} pictures; "
        f"{len(bundle.golden)} golden pictures in {bundle.path}"
    )
