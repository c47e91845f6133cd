"""A benchmark result as one self-contained HTML page, by the template report.html."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unet_edge.benchmarking.chart import pareto_front, scatter, sustained_lines
from unet_edge.benchmarking.labelled_pictures import LabelledPicture
from unet_edge.benchmarking.results import BenchmarkResult, ModelResult
from unet_edge.benchmarking.tables import (
    CONDITION_HEADERS,
    COST_HEADERS,
    class_tables,
    condition_rows,
    conditions,
    cost_rows,
    number,
    sustained_text,
    warnings,
)
from unet_edge.bundle.bundle import Bundle
from unet_edge.drawing.thumbnails import DIFFERS, difference, overlay, thumbnail
from unet_edge.errors import BackendError
from unet_edge.images.decoding import decode
from unet_edge.images.mask_file import read_labels
from unet_edge.images.placement import Labels
from unet_edge.percent import percent
from unet_edge.runtime.segmenter import STAGES, Segmenter
from unet_edge.spec import IGNORE

_GENERATOR = '<meta name="generator" content="unet-edge benchmark">'


@dataclass(frozen=True)
class _Figure:
    """A picture of the page; `data` is a JPEG in base64."""

    alt: str
    data: str
    width: int
    height: int
    caption: str


@dataclass(frozen=True)
class _Gallery:
    title: str
    legend: Sequence[tuple[tuple[int, ...], str]]
    pictures: Sequence[tuple[str, list[_Figure]]]


@dataclass(frozen=True)
class _Shown:
    """A picture of a gallery with the mask that the others are compared with."""

    name: str
    source: bytes
    labels: Labels


def is_report(data: bytes) -> bool:
    """Whether a file was written by `report_html`."""
    return data.startswith(b"<!doctype html>") and _GENERATOR.encode() in data[:1000]


def require_templates() -> None:
    """Raise BackendError if Jinja2, which fills the template, is not installed."""
    try:
        import jinja2  # noqa: F401  # heavy, and only for this page
    except ImportError as error:
        raise BackendError(
            "Jinja2 is not installed", fix="run: pip install 'unet-edge[report]'"
        ) from error


def report_html(
    result: BenchmarkResult,
    bundle: Bundle,
    *,
    labelled: Sequence[LabelledPicture] = (),
    pictures: int = 6,
) -> str:
    """One HTML page without external resources: tables, charts, and masks of the worst pictures.

    Segments with every file that ran the `pictures` golden pictures, and as many of `labelled`,
    with the lowest agreement of any file. Raises BundleError when the bundle is damaged, and
    BackendError without Jinja2.
    """
    require_templates()
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["px"] = lambda value: f"{value:.1f}"
    package = files("unet_edge.benchmarking")
    template = environment.from_string((package / "report.html").read_text())
    css = (package / "report.css").read_text()
    page = template.render(
        **_context(result, bundle, labelled, pictures),
        generator=Markup(_GENERATOR),
        css=Markup(css),
    )
    return page + "\n"


def _context(
    result: BenchmarkResult, bundle: Bundle, labelled: Sequence[LabelledPicture], pictures: int
) -> dict[str, Any]:
    ran = [row for row in result.rows if row.cost]
    best = result.best
    front = pareto_front([(row.cost.p50_ms, row.cost.agreement) for row in ran if row.cost])
    return {
        "title": f"{result.model} on {result.machine['model']}",
        "facts": _facts(result, bundle),
        "best": best.label if best else None,
        "cards": _cards(result, best) if best else [],
        "warnings": warnings(result),
        "remarks": conditions(result),
        "cost_headers": COST_HEADERS,
        "cost_rows": cost_rows(result),
        "scatter": scatter(ran),
        "front": ", ".join(ran[index].label for index in front),
        "stages": STAGES,
        "stage_rows": [
            (row.label, [number(row.cost.stages[stage]["p50"]) for stage in STAGES])
            for row in ran
            if row.cost
        ],
        "sustained": sustained_lines(result.sustained) if result.sustained else (),
        "sustained_text": sustained_text(result.sustained) if result.sustained else "",
        "class_tables": class_tables(result, bundle.spec.classes),
        "condition_headers": CONDITION_HEADERS,
        "condition_rows": condition_rows(result),
        "galleries": _galleries(result, bundle, labelled, pictures),
    }


def _facts(result: BenchmarkResult, bundle: Bundle) -> list[tuple[str, str]]:
    machine = result.machine
    backends = dict.fromkeys(row.cost.backend for row in result.rows if row.cost)
    facts = {
        "Machine": f"{result.processor}, {machine['cores']} cores, {machine['memory_gib']} GiB",
        "Instructions": ", ".join(result.instructions),
        "System": f"{machine['system']}, {machine['architecture']}, Python {machine['python']}, "
        f"NumPy {machine['numpy']}",
        "Interpreters": ", ".join(backends) or "none ran",
        "Settings": ", ".join(f"{name}={value}" for name, value in result.environment.items()),
        "Model": f"{result.width}×{result.height} px, {bundle.spec.fit}; "
        f"{', '.join(bundle.spec.classes)}",
        "Exported with": ", ".join(f"{name} {number}" for name, number in bundle.tools.items()),
        "Keras reference": f"SHA-256 {bundle.reference.keras_sha256}",
        "Measured": f"{result.date}; 512³ matrix product {number(result.gemm_before_ms)} ms "
        f"before, {number(result.gemm_after_ms)} ms after",
    }
    return [(name, text) for name, text in facts.items() if text]


def _cards(result: BenchmarkResult, best: ModelResult) -> list[tuple[str, str]]:
    """The fastest file that reaches its floor, as a few large numbers."""
    assert best.cost is not None
    cards = {
        f"{number(best.cost.p50_ms)} ms": "median for a whole picture",
        f"{number(best.cost.rate)} a second": "pictures, one after another",
        f"{percent(best.cost.agreement)} %": "of its pixels equal the Keras reference's",
        f"{best.cost.peak_memory_mib:.0f} MiB": "peak memory, Python included",
        f"{number((best.bytes or 0) / 1e6)} MB": "on disk",
    }
    if speedup := result.speedup(best):
        cards[f"{number(speedup.value)}×"] = "as fast as Keras on this machine"
    return list(cards.items())


def _galleries(
    result: BenchmarkResult, bundle: Bundle, labelled: Sequence[LabelledPicture], pictures: int
) -> list[_Gallery]:
    """The worst golden pictures beside Keras' masks, and the worst labelled ones."""
    models = _one_variant_each(result)
    worst = _worst([row.cost.golden.pictures for row in models if row.cost], pictures)
    by_name = {golden.picture: golden for golden in bundle.golden}
    golden = [_Shown(name, *bundle.read_golden(by_name[name])) for name in worst if name in by_name]
    galleries = [
        _gallery(result, bundle, models, golden, "Keras reference", "golden pictures, worst first")
    ]
    scored = [row.cost.labels.pictures for row in models if row.cost and row.cost.labels]
    by_label = {each.name: each for each in labelled}
    shown = [
        _Shown(name, each.picture.read_bytes(), np.asarray(read_labels(each.labels)))
        for name in _worst(scored, pictures)
        if (each := by_label.get(name))
    ]
    galleries.append(
        _gallery(result, bundle, models, shown, "true label", "labelled pictures, worst first")
    )
    return [gallery for gallery in galleries if gallery.pictures]


def _one_variant_each(result: BenchmarkResult) -> list[ModelResult]:
    """The first variant of each file that ran: on other threads its masks are the same."""
    return list({row.name: row for row in reversed(result.files) if row.cost}.values())[::-1]


def _worst(scores: Sequence[dict[str, float]], most: int) -> list[str]:
    """The names of the pictures with the lowest agreement of any model, lowest first."""
    lowest = {name: min(each[name] for each in scores) for name in (scores[0] if scores else ())}
    return sorted(lowest, key=lambda name: lowest[name])[:most]


def _gallery(
    result: BenchmarkResult,
    bundle: Bundle,
    models: Sequence[ModelResult],
    shown: Sequence[_Shown],
    reference: str,
    title: str,
) -> _Gallery:
    """Each picture with its reference, and the overlay and difference of every file."""
    photos = [decode(each.source, bit_depth=bundle.spec.bit_depth) for each in shown]
    cells = [
        [
            _figure("photo", thumbnail(photo), f"photo, {photo.width}×{photo.height} px"),
            _figure(reference, overlay(photo, _visible(each.labels), bundle.spec), reference),
        ]
        for photo, each in zip(photos, shown, strict=True)
    ]
    for row in models:
        for column, figures in zip(
            cells, _column(result, bundle, row, shown, photos), strict=False
        ):
            column.extend(figures)
    legend = list(zip(bundle.spec.palette, bundle.spec.classes, strict=True))[1:]
    return _Gallery(
        title=f"Masks of {title}",
        legend=[*legend, (DIFFERS, f"differs from the {reference}")],
        pictures=[(each.name, column) for each, column in zip(shown, cells, strict=True)],
    )


def _column(
    result: BenchmarkResult,
    bundle: Bundle,
    row: ModelResult,
    shown: Sequence[_Shown],
    photos: Sequence[Image.Image],
) -> Iterator[tuple[_Figure, _Figure]]:
    """The overlay and the difference of a file for each picture; none if it cannot be opened."""
    assert row.cost is not None
    if not shown:
        return
    try:
        segmenter = Segmenter.open(bundle.path, file=row.name, threads=row.cost.threads)
    except BackendError:  # the benchmark may be from another machine
        return
    for photo, each in zip(photos, shown, strict=True):
        labels = segmenter.segment(each.source).labels
        wrong: NDArray[np.bool_] = (labels != each.labels) & (each.labels != IGNORE)
        count, pixels = int(wrong.sum()), int(np.count_nonzero(each.labels != IGNORE))
        share = f"{percent(1 - count / pixels)} %, {count:,} px differ"
        yield (
            _figure(row.name, overlay(photo, labels, bundle.spec), row.name),
            _figure(f"{row.name}, difference", difference(photo, wrong), share),
        )


def _visible(labels: Labels) -> Labels:
    """The labels with ignored pixels as background, which is drawn transparent."""
    return np.where(labels == IGNORE, 0, labels).astype(np.uint8)


def _figure(alt: str, picture: Image.Image, caption: str) -> _Figure:
    buffer = io.BytesIO()
    # 4:4:4: at half the colour resolution, single red pixels would fade into the grey around them.
    picture.save(buffer, "JPEG", quality=82, subsampling=0, optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return _Figure(alt, data, picture.width, picture.height, caption)
