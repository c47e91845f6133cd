"""A campaign for people: tables for the terminal and Markdown, and one self-contained HTML page."""

from __future__ import annotations

import base64
import io
import itertools
import math
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tabulate import tabulate

from unet_edge.bundle import Bundle
from unet_edge.errors import BackendError
from unet_edge.imaging import Labels, decode
from unet_edge.mask import Mask
from unet_edge.runtime.measurement import TOTAL, Campaign, Row
from unet_edge.runtime.segmenter import STAGES, Segmenter

COST_HEADERS = (
    "file",
    "MB",
    "load ms",
    "p50 ms",
    "p90 ms",
    "p99 ms",
    "infer ms",
    "peak MiB",
    "agreement %",
    "mask mIoU",
    "label mIoU",
    "× Keras",
    "infer × Keras",
)
STAGE_HEADERS = ("p50 ms", *STAGES)

_THUMBNAIL = (320, 480)  # width, height, px: five files and six pictures stay under 3 MB
_DIFFERS = (235, 25, 45)


def cost_rows(campaign: Campaign) -> list[list[str]]:
    """One list of texts, under COST_HEADERS, for each model; Keras first."""
    return [_cost_row(campaign, row) for row in campaign.rows]


def stage_rows(campaign: Campaign) -> list[list[str]]:
    """One list of texts, under STAGE_HEADERS, for each model that ran."""
    return [
        [row.name, *(_number(row.cost.stages[stage]["p50"]) for stage in STAGES)]
        for row in campaign.rows
        if row.cost
    ]


def warnings(campaign: Campaign) -> list[str]:
    """What went wrong, a sentence each: files that did not run or broke their floor, noise."""
    found = [f"{row.name} did not run: {row.error}" for row in campaign.rows if row.error]
    found += [
        f"{row.name} is UNDER ITS FLOOR here: {_percent(row.cost.agreement)} % of pixels as Keras, "
        f"{_percent(row.floor)} % asked for"
        for row in campaign.files
        if row.cost and row.floor and not row.kept_floor
    ]
    if not campaign.steady:
        found.append(
            f"this machine's speed changed meanwhile (a matrix product took "
            f"{_number(campaign.gemm_before_ms)} ms before, {_number(campaign.gemm_after_ms)} ms "
            "after): measure again when it is cool and nothing else runs"
        )
    return found


def conditions(campaign: Campaign) -> list[str]:
    """How the figures were taken, a sentence each."""
    return [
        f"{campaign.runs} runs in a process for each, over {campaign.pictures} pictures "
        f"({', '.join(campaign.sizes)} px), {campaign.threads} threads; Keras as many as it likes",
        f"p50, p90 and p99 are of the whole picture: {', '.join(STAGES)}",
    ]


def tables(campaign: Campaign, style: str = "simple") -> str:
    """Both tables, warnings and conditions, in a style of tabulate's ("github" is Markdown)."""
    parts = [
        tabulate(
            rows,
            headers,
            tablefmt=style,
            disable_numparse=True,
            colalign=("left", *["right"] * (len(headers) - 1)),
        )
        for headers, rows in (
            (COST_HEADERS, cost_rows(campaign)),
            (STAGE_HEADERS, stage_rows(campaign)),
        )
        if rows
    ]
    remarks = [*warnings(campaign), *conditions(campaign)]
    return "\n\n".join([*parts, "\n".join(f"- {remark}" for remark in remarks)])


def report_html(campaign: Campaign, bundle: Bundle, *, pictures: int = 6) -> str:
    """One HTML page without anything external: tables, chart, and masks of golden pictures.

    Segments the first `pictures` golden pictures with every file that ran in the campaign.
    Raises BundleError when the bundle is damaged.
    """
    title = f"{campaign.model} on {campaign.machine['model']}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        _facts(campaign, bundle),
        _headline(campaign),
        "<h2>Cost and agreement</h2>",
        _table(COST_HEADERS, cost_rows(campaign)),
        "<ul class=notes>",
        *(f"<li class=bad>{escape(remark)}" for remark in warnings(campaign)),
        *(f"<li>{escape(remark)}" for remark in conditions(campaign)),
        "</ul>",
        _chart([row for row in campaign.rows if row.cost]),
        _stages(campaign),
        _gallery(campaign, bundle, pictures),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body><main>\n"
        + "\n".join(parts)
        + "\n</main></body></html>\n"
    )


def _cost_row(campaign: Campaign, row: Row) -> list[str]:
    label = "–" if row.label_miou is None else f"{row.label_miou:.4f}"
    size = "–" if row.bytes is None else _number(row.bytes / 1e6)
    if row.cost is None:
        return [row.name, size, *["–"] * 8, label, "–", "–"]
    total = row.cost.stages[TOTAL]
    speedups = (campaign.speedup(row), campaign.speedup(row, "infer"))
    return [
        row.name,
        size,
        _number(row.cost.load_ms),
        *(_number(total[name]) for name in ("p50", "p90", "p99")),
        _number(row.cost.stages["infer"]["p50"]),
        f"{row.cost.peak_memory_mib:.0f}",
        _percent(row.cost.agreement) + ("" if row.kept_floor else " !"),
        f"{row.cost.mask_miou:.4f}",
        label,
        *("–" if speedup is None else _number(speedup) for speedup in speedups),
    ]


def _number(value: float) -> str:
    """Three significant digits, or all the whole ones."""
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def _percent(share: float) -> str:
    """A share as percent, cut instead of rounded: 100 means that every pixel agrees."""
    return "100" if share == 1 else f"{math.floor(share * 1e5 + 1e-6) / 1e3:.3f}"


def _facts(campaign: Campaign, bundle: Bundle) -> str:
    machine = campaign.machine
    backends = dict.fromkeys(row.cost.backend for row in campaign.rows if row.cost)
    facts = {
        "Machine": f"{machine['model']}, {machine['cores']} cores, {machine['memory_gib']} GiB",
        "System": f"{machine['system']}, {machine['architecture']}, Python {machine['python']}, "
        f"NumPy {machine['numpy']}",
        "Interpreters": ", ".join(backends) or "none ran",
        "Model": f"{campaign.width}×{campaign.height} px, {bundle.spec.fit}; "
        f"{', '.join(bundle.spec.classes)}",
        "Exported with": ", ".join(f"{name} {number}" for name, number in bundle.tools.items()),
        "Keras reference": f"SHA-256 {bundle.reference.keras_sha256}",
        "Measured": f"{campaign.date}; 512³ matrix product {_number(campaign.gemm_before_ms)} ms "
        f"before, {_number(campaign.gemm_after_ms)} ms after",
    }
    items = (f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in facts.items() if text)
    return f"<dl>{''.join(items)}</dl>"


def _headline(campaign: Campaign) -> str:
    """The fastest file that kept its floor, in a few large numbers."""
    kept = [(row.cost.p50_ms, row) for row in campaign.files if row.cost and row.kept_floor]
    if not kept:
        return "<p class=bad>No file ran here and kept its agreement floor.</p>"
    _, best = min(kept, key=lambda pair: pair[0])
    assert best.cost is not None
    speedup = campaign.speedup(best)
    cards = {
        f"{_number(best.cost.p50_ms)} ms": "median for a whole picture",
        f"{_percent(best.cost.agreement)} %": "of its pixels are the Keras reference's",
        f"{best.cost.peak_memory_mib:.0f} MiB": "peak memory, Python included",
        f"{_number((best.bytes or 0) / 1e6)} MB": "on disk",
    }
    if speedup:
        cards[f"{_number(speedup)}×"] = "as fast as Keras on this machine"
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
    return f"<div class=wide><table><thead><tr>{head}<tbody>{body}</table></div>"


def _stages(campaign: Campaign) -> str:
    """Bars of each stage's share of a picture's time, with its median in ms."""
    rows = stage_rows(campaign)
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


def _gallery(campaign: Campaign, bundle: Bundle, pictures: int) -> str:
    """Photo, reference, every file's overlay and its difference, for each golden picture."""
    golden = [(entry.picture, *bundle.read_golden(entry)) for entry in bundle.golden[:pictures]]
    if not golden:
        return ""
    photos = [decode(picture, bundle.spec.orientation) for _, picture, _ in golden]
    columns = [
        [
            _figure("photo", _thumbnail(photo), f"photo, {photo.width}×{photo.height} px")
            + _figure("Keras reference", _overlay(photo, labels, bundle), "Keras reference")
            for photo, (_, _, labels) in zip(photos, golden, strict=True)
        ]
    ]
    for row in campaign.files:
        if row.cost is None:
            continue
        try:
            segmenter = Segmenter.open(bundle.path, file=row.name, threads=campaign.threads)
        except BackendError:  # it ran in the campaign, which may have been on another machine
            continue
        column = []
        for photo, (_, _, reference) in zip(photos, golden, strict=True):
            labels = segmenter.segment(photo).labels
            wrong = labels != reference
            count = int(wrong.sum())
            share = f"{_percent(1 - count / wrong.size)} %, {count:,} px differ"
            column.append(
                _figure(row.name, _overlay(photo, labels, bundle), row.name)
                + _figure(f"{row.name}, difference", _difference(photo, wrong), share)
            )
        columns.append(column)
    swatches = [
        f"<i style='background:rgb{color}'></i>{escape(name)}"
        for name, color in list(zip(bundle.spec.classes, bundle.spec.palette, strict=True))[1:]
    ]
    swatches.append(f"<i style='background:rgb{_DIFFERS}'></i>differs from the Keras reference")
    sections = "".join(
        f"<h3>{escape(name)}</h3><div class='wide grid'>{''.join(figures)}</div>"
        for (name, _, _), *figures in zip(golden, *columns, strict=True)
    )
    return f"<h2>Masks, picture by picture</h2><p class=legend>{' '.join(swatches)}</p>{sections}"


def _figure(alt: str, picture: Image.Image, caption: str) -> str:
    buffer = io.BytesIO()
    # 4:4:4: halved colour resolution would smear single red pixels into the grey around them.
    picture.save(buffer, "JPEG", quality=82, subsampling=0, optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<figure><img alt="{escape(alt)}" src="data:image/jpeg;base64,{data}" '
        f"width={picture.width} height={picture.height}>"
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _thumbnail(picture: Image.Image) -> Image.Image:
    small = picture.copy()
    small.thumbnail(_THUMBNAIL)
    return small


def _overlay(photo: Image.Image, labels: Labels, bundle: Bundle) -> Image.Image:
    return _thumbnail(Mask.of(labels, bundle.spec).overlay(photo, legend=False))


def _difference(photo: Image.Image, wrong: NDArray[np.bool_]) -> Image.Image:
    """The photo in dim grey, red wherever any pixel under a thumbnail's pixel is `wrong`.

    The maximum, not the mean: a single wrong pixel of a large photo stays visible.
    """
    small = _thumbnail(photo).convert("L")
    rows = np.arange(small.height) * photo.height // small.height
    columns = np.arange(small.width) * photo.width // small.width
    marks = np.maximum.reduceat(np.maximum.reduceat(wrong, rows, axis=0), columns, axis=1)
    pixels = np.repeat((np.asarray(small) * 0.45 + 60).astype(np.uint8)[..., None], 3, axis=2)
    pixels[marks] = _DIFFERS
    return Image.fromarray(pixels)


_WIDTH, _HEIGHT = 900, 350
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 24, 30, 56  # px around the axes


def _chart(rows: Sequence[Row]) -> str:
    """Scatter of time against agreement, as inline SVG; logarithmic time over a wide range."""
    points = [(row, row.cost.p50_ms, row.cost.agreement * 100) for row in rows if row.cost]
    if not points:
        return ""
    times = [time for _, time, _ in points]
    logarithmic = max(times) > 5 * min(times)
    x_ticks = _log_ticks(min(times), max(times)) if logarithmic else _ticks(0, max(times))
    y_ticks = _ticks(min(99.99, *(share for _, _, share in points)), 100)
    scale = math.log10 if logarithmic else float
    x_low, x_high = scale(x_ticks[0]), scale(x_ticks[-1])

    def x_of(time: float) -> float:
        part = (scale(time) - x_low) / (x_high - x_low)
        return _LEFT + part * (_WIDTH - _LEFT - _RIGHT)

    def y_of(share: float) -> float:
        part = (share - y_ticks[0]) / (100 - y_ticks[0])
        return _HEIGHT - _BOTTOM - part * (_HEIGHT - _TOP - _BOTTOM)

    floor, end = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    shapes = []
    for tick in x_ticks:
        across = f"{x_of(tick):.1f}"
        shapes.append(f"<path class=line d='M{across} {_TOP - 14}V{floor}'/>")
        shapes.append(f"<text x={across} y={floor + 20} text-anchor=middle>{tick:.10g}</text>")
    for tick in y_ticks:
        down = f"{y_of(tick):.1f}"
        shapes.append(f"<path class=line d='M{_LEFT} {down}H{end}'/>")
        shapes.append(f"<text x={_LEFT - 10} y={down} dy=4 text-anchor=end>{tick:.10g}</text>")
    places = [(x_of(time), y_of(share)) for _, time, share in points]
    labels = _label_places(places, [row.name for row, _, _ in points])
    for (row, time, share), (x, y), (at, line) in zip(points, places, labels, strict=True):
        if abs(line - y) > 9:
            near = at + 2 if at > x else at + _text_width(row.name) - 2
            shapes.append(f"<path class=leader d='M{x:.1f} {y:.1f}L{near:.1f} {line:.1f}'/>")
        tip = f"{row.name}: {_number(time)} ms, {_percent(share / 100)} %"
        shapes.append(
            f"<circle class={row.format} cx={x:.1f} cy={y:.1f} r=6><title>{escape(tip)}</title>"
            f"</circle><text class=name x={at:.1f} y={line:.1f} dy=4>{escape(row.name)}</text>"
        )
    unit = "ms, logarithmic" if logarithmic else "ms"
    middle = (_TOP + floor) / 2
    return (
        "<h2>Time against agreement</h2><p>Up and to the left is better.</p><div class=wide>"
        f"<svg viewBox='0 0 {_WIDTH} {_HEIGHT}' role=img aria-label='Time against agreement'>"
        f"{''.join(shapes)}"
        f"<text class=axis x={(_LEFT + end) / 2} y={_HEIGHT - 10} text-anchor=middle>"
        f"median time for a whole picture, {unit}</text>"
        f"<text class=axis transform='translate(18 {middle}) rotate(-90)' text-anchor=middle>"
        "pixels as Keras, %</text></svg></div>"
    )


def _label_places(
    places: Sequence[tuple[float, float]], names: Sequence[str]
) -> list[tuple[float, float]]:
    """Where each name starts, (x, y) px: the nearest place beside its point that is still free."""
    taken = [(x - 8, y - 8, x + 8, y + 8) for x, y in places]
    found = []
    for (x, y), name in zip(places, names, strict=True):
        width = _text_width(name)
        offsets = [sign * step * 19 for step in range(12) for sign in (1, -1)]
        for offset, start in itertools.product(offsets, (x + 12, x - 12 - width)):
            box = (start, y + offset - 9, start + width, y + offset + 9)
            inside = (
                box[0] > _LEFT and box[2] < _WIDTH and box[1] > 0 and box[3] < _HEIGHT - _BOTTOM
            )
            if inside and not any(
                box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken
            ):
                break
        taken.append(box)
        found.append((start, y + offset))
    return found


def _text_width(text: str) -> float:
    return 7.4 * len(text)  # px, a sans serif of 13 px, generously


def _ticks(low: float, high: float) -> list[float]:
    """Four to nine round numbers that enclose low..high; low and high must differ."""
    raw = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * next(m for m in (5, 2, 1) if m * power <= raw)
    return [
        n * step for n in range(math.floor(low / step + 1e-6), math.ceil(high / step - 1e-6) + 1)
    ]


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten that enclose low..high."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [m * 10.0**power for power in powers for m in (1, 2, 5)]
    first = max(n for n, tick in enumerate(ticks) if tick <= low)
    last = min(n for n, tick in enumerate(ticks) if tick >= high)
    return ticks[first : last + 1]


_STYLE = """
:root{color-scheme:light dark;--back:#f5f6f8;--card:#fff;--text:#1b2330;--soft:#5a6677;
--line:#dde2e9;--keras:#64748b;--tflite:#2563eb;--onnx:#c2600a;--bad:#b91c1c;
--s0:#94a3b8;--s1:#0d9488;--s2:#2563eb;--s3:#a855f7;--s4:#d97706}
@media(prefers-color-scheme:dark){:root{--back:#11151b;--card:#1a2029;--text:#e7eaef;
--soft:#9aa6b6;--line:#303947;--keras:#a3b0c2;--tflite:#6ea8fe;--onnx:#f5a94b;--bad:#ff7b7b;
--s0:#64748b;--s1:#2dd4bf;--s2:#6ea8fe;--s3:#c084fc;--s4:#fbbf24}}
body{margin:0;background:var(--back);color:var(--text);font:15px/1.5 system-ui,sans-serif}
main{max-width:1240px;margin:auto;padding:28px 20px 60px}
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
th:first-child{text-align:left;font-weight:600}
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
