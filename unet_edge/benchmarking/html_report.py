"""A benchmark result as one self-contained HTML page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

from PIL import Image

from unet_edge.benchmarking.chart import chart
from unet_edge.benchmarking.results import BenchmarkResult
from unet_edge.benchmarking.tables import (
    COST_HEADERS,
    conditions,
    cost_rows,
    number,
    warnings,
)
from unet_edge.bundle.bundle import Bundle
from unet_edge.drawing.thumbnails import DIFFERS, difference, overlay, thumbnail
from unet_edge.errors import BackendError
from unet_edge.images.decoding import decode
from unet_edge.percent import percent
from unet_edge.runtime.segmenter import STAGES, Segmenter

_GENERATOR = '<meta name="generator" content="unet-edge benchmark">'


def is_report(data: bytes) -> bool:
    """Whether a file was written by `report_html`."""
    return data.startswith(b"<!doctype html>") and _GENERATOR.encode() in data[:1000]


def report_html(result: BenchmarkResult, bundle: Bundle, *, pictures: int = 6) -> str:
    """One HTML page without external resources: tables, chart, and masks of golden pictures.

    Segments the first `pictures` golden pictures with every file that ran in the benchmark.
    Raises BundleError when the bundle is damaged.
    """
    title = f"{result.model} on {result.machine['model']}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        _facts(result, bundle),
        _headline(result),
        "<h2>Cost and agreement</h2>",
        _table(COST_HEADERS, cost_rows(result)),
        "<ul class=notes>",
        *(f"<li class=bad>{escape(remark)}" for remark in warnings(result)),
        *(f"<li>{escape(remark)}" for remark in conditions(result)),
        "</ul>",
        chart([row for row in result.rows if row.cost]),
        _stages(result),
        _gallery(result, bundle, pictures),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'{_GENERATOR}<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body><main>\n"
        + "\n".join(parts)
        + "\n</main></body></html>\n"
    )


def _facts(result: BenchmarkResult, bundle: Bundle) -> str:
    machine = result.machine
    backends = dict.fromkeys(row.cost.backend for row in result.rows if row.cost)
    facts = {
        "Machine": f"{result.processor}, {machine['cores']} cores, {machine['memory_gib']} GiB",
        "System": f"{machine['system']}, {machine['architecture']}, Python {machine['python']}, "
        f"NumPy {machine['numpy']}",
        "Interpreters": ", ".join(backends) or "none ran",
        "Model": f"{result.width}×{result.height} px, {bundle.spec.fit}; "
        f"{', '.join(bundle.spec.classes)}",
        "Exported with": ", ".join(f"{name} {number}" for name, number in bundle.tools.items()),
        "Keras reference": f"SHA-256 {bundle.reference.keras_sha256}",
        "Measured": f"{result.date}; 512³ matrix product {number(result.gemm_before_ms)} ms "
        f"before, {number(result.gemm_after_ms)} ms after",
    }
    items = (f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in facts.items() if text)
    return f"<dl>{''.join(items)}</dl>"


def _headline(result: BenchmarkResult) -> str:
    """The fastest file that reaches its floor, as a few large numbers."""
    kept = [(row.cost.p50_ms, row) for row in result.files if row.cost and row.kept_floor]
    if not kept:
        return "<p class=bad>No file ran here and reached its agreement floor.</p>"
    _, best = min(kept, key=lambda pair: pair[0])
    assert best.cost is not None
    speedup = result.speedup(best)
    cards = {
        f"{number(best.cost.p50_ms)} ms": "median for a whole picture",
        f"{percent(best.cost.agreement)} %": "of its pixels equal the Keras reference's",
        f"{best.cost.peak_memory_mib:.0f} MiB": "peak memory, Python included",
        f"{number((best.bytes or 0) / 1e6)} MB": "on disk",
    }
    if speedup:
        cards[f"{number(speedup.value)}×"] = "as fast as Keras on this machine"
    items = (f"<div><b>{value}</b><span>{label}</span></div>" for value, label in cards.items())
    name = escape(best.name)
    return (
        f"<p>Fastest file within its agreement floor: <strong>{name}</strong></p>"
        f"<div class=cards>{''.join(items)}</div>"
    )


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th scope=col>{escape(text)}" for text in headers)
    body = "".join(
        f"<tr><th scope=row>{escape(name)}"
        + "".join(f"<td{' class=bad' if '!' in text else ''}>{escape(text)}" for text in cells)
        for name, *cells in rows
    )
    return f"<div class=wide><table class=cost><thead><tr>{head}<tbody>{body}</table></div>"


def _stages(result: BenchmarkResult) -> str:
    """A bar for each model with the share of each stage, and the medians in ms."""
    rows = [
        [row.name, *(number(row.cost.stages[stage]["p50"]) for stage in STAGES)]
        for row in result.rows
        if row.cost
    ]
    if not rows:
        return ""
    head = "".join(f"<th scope=col><i class=s{n}></i>{name}" for n, name in enumerate(STAGES))
    body = ""
    for name, *cells in rows:
        bars = "".join(f"<i class=s{n} style='flex:{float(ms)}'></i>" for n, ms in enumerate(cells))
        body += (
            f"<tr><th scope=row>{escape(name)}{''.join(f'<td>{ms}' for ms in cells)}"
            f"<td class=bar><div>{bars}</div>"
        )
    return (
        "<h2>Where the time goes</h2><div class=wide><table><thead><tr>"
        f"<th scope=col>median, ms{head}<th class=bar scope=col>share<tbody>{body}</table></div>"
    )


def _gallery(result: BenchmarkResult, bundle: Bundle, pictures: int) -> str:
    """Each golden picture with its reference, and the overlay and difference of every file."""
    golden = [(entry.picture, *bundle.read_golden(entry)) for entry in bundle.golden[:pictures]]
    if not golden:
        return ""
    photos = [decode(picture) for _, picture, _ in golden]
    columns = [
        [
            _figure("photo", thumbnail(photo), f"photo, {photo.width}×{photo.height} px")
            + _figure("Keras reference", overlay(photo, labels, bundle.spec), "Keras reference")
            for photo, (_, _, labels) in zip(photos, golden, strict=True)
        ]
    ]
    for row in result.files:
        if row.cost is None:
            continue
        try:
            segmenter = Segmenter.open(bundle.path, file=row.name, threads=result.threads)
        except BackendError:  # the benchmark may be from another machine
            continue
        column = []
        for photo, (_, picture, reference) in zip(photos, golden, strict=True):
            labels = segmenter.segment(picture).labels
            wrong = labels != reference
            count = int(wrong.sum())
            share = f"{percent(1 - count / wrong.size)} %, {count:,} px differ"
            column.append(
                _figure(row.name, overlay(photo, labels, bundle.spec), row.name)
                + _figure(f"{row.name}, difference", difference(photo, wrong), share)
            )
        columns.append(column)
    swatches = [
        f"<i style='background:rgb{color}'></i>{escape(name)}"
        for name, color in list(zip(bundle.spec.classes, bundle.spec.palette, strict=True))[1:]
    ]
    swatches.append(f"<i style='background:rgb{DIFFERS}'></i>differs from the Keras reference")
    sections = "".join(
        f"<h3>{escape(name)}</h3><div class='wide grid'>{''.join(figures)}</div>"
        for (name, _, _), *figures in zip(golden, *columns, strict=True)
    )
    return f"<h2>Masks, picture by picture</h2><p class=legend>{' '.join(swatches)}</p>{sections}"


def _figure(alt: str, picture: Image.Image, caption: str) -> str:
    buffer = io.BytesIO()
    # 4:4:4: at half the colour resolution, single red pixels would fade into the grey around them.
    picture.save(buffer, "JPEG", quality=82, subsampling=0, optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<figure><img alt="{escape(alt)}" src="data:image/jpeg;base64,{data}" '
        f"width={picture.width} height={picture.height}>"
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


_STYLE = """
:root{color-scheme:light dark;--back:#f5f6f8;--card:#fff;--text:#1b2330;--soft:#5a6677;
--line:#dde2e9;--keras:#64748b;--tflite:#2563eb;--onnx:#c2600a;--bad:#b91c1c;
--s0:#94a3b8;--s1:#0d9488;--s2:#2563eb;--s3:#a855f7;--s4:#d97706}
@media(prefers-color-scheme:dark){:root{--back:#11151b;--card:#1a2029;--text:#e7eaef;
--soft:#9aa6b6;--line:#303947;--keras:#a3b0c2;--tflite:#6ea8fe;--onnx:#f5a94b;--bad:#ff7b7b;
--s0:#64748b;--s1:#2dd4bf;--s2:#6ea8fe;--s3:#c084fc;--s4:#fbbf24}}
body{margin:0;background:var(--back);color:var(--text);font:15px/1.5 system-ui,sans-serif}
main{max-width:1320px;margin:auto;padding:28px 20px 60px}
h1{font-size:28px;line-height:1.2;margin:0 0 14px}
h2{font-size:20px;margin:40px 0 10px}
h3{font-size:14px;margin:22px 0 6px;color:var(--soft);font-weight:600}
dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 18px;font-size:14px;margin:0 0 26px}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
.cards{display:flex;flex-wrap:wrap;gap:12px}
.cards div{flex:1 1 170px;padding:14px 16px}
.cards b{display:block;font-size:26px;line-height:1.3}.cards span{color:var(--soft);font-size:13px}
.cards div,.wide{background:var(--card);border:1px solid var(--line);border-radius:10px}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}
th,td{padding:8px 10px;text-align:right;white-space:nowrap;border-top:1px solid var(--line)}
thead th{border-top:0;color:var(--soft);font-weight:600;font-size:13px}
.cost thead th{white-space:normal;vertical-align:bottom}
.cost th,.cost td{padding:8px 7px}
th:first-child{text-align:left;font-weight:600;position:sticky;left:0;background:var(--card)}
.bar,th.bar{width:32%;text-align:left}
.bar div{display:flex;height:14px;border-radius:4px;overflow:hidden}
th i,.legend i{display:inline-block;width:11px;height:11px;border-radius:3px;margin:0 6px 0 14px}
.legend i:first-child{margin-left:0}
.s0{background:var(--s0)}.s1{background:var(--s1)}.s2{background:var(--s2)}
.s3{background:var(--s3)}.s4{background:var(--s4)}
.bad{color:var(--bad);font-weight:600}
.notes{color:var(--soft);font-size:14px;padding-left:20px}
svg{display:block;width:100%;min-width:640px;font-size:13px}
svg text{fill:var(--soft)}
svg .name{fill:var(--text);stroke:var(--card);stroke-width:4px;paint-order:stroke}
svg .axis{font-size:14px}
.line,.leader{stroke:var(--line);fill:none}.leader{stroke:var(--soft)}
circle{stroke:var(--card);stroke-width:1.5}
.keras{fill:var(--keras)}.tflite{fill:var(--tflite)}.onnx{fill:var(--onnx)}
.grid{display:grid;grid-auto-flow:column;grid-template-rows:auto auto;gap:12px;padding:12px;
grid-auto-columns:minmax(150px,240px)}
figure{margin:0}img{display:block;width:100%;height:auto;border-radius:5px}
figcaption{font-size:12px;color:var(--soft);padding-top:4px;overflow-wrap:anywhere}
"""
