"""A chart of time against agreement, as inline SVG."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from html import escape

from unet_edge.benchmarking.results import ModelResult
from unet_edge.benchmarking.tables import number
from unet_edge.percent import percent

_WIDTH, _HEIGHT = 900, 350
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 24, 30, 56  # px around the axes


def chart(rows: Sequence[ModelResult]) -> str:
    """A scatter chart as inline SVG; the axis of time is logarithmic for a wide range."""
    points = [(row, row.cost.p50_ms, row.cost.agreement) for row in rows if row.cost]
    if not points:
        return ""
    times = [time for _, time, _ in points]
    logarithmic = max(times) > 5 * min(times)
    x_ticks = _log_ticks(min(times), max(times)) if logarithmic else _ticks(0, max(times))
    y_ticks = _ticks(min(99.99, *(100 * share for _, _, share in points)), 100)
    scale = math.log10 if logarithmic else float
    x_low, x_high = scale(x_ticks[0]), scale(x_ticks[-1])

    def x_of(time: float) -> float:
        part = (scale(time) - x_low) / (x_high - x_low)
        return _LEFT + part * (_WIDTH - _LEFT - _RIGHT)

    def y_of(share: float) -> float:
        part = (100 * share - y_ticks[0]) / (100 - y_ticks[0])
        return _HEIGHT - _BOTTOM - part * (_HEIGHT - _TOP - _BOTTOM)

    floor, end = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    shapes = []
    for tick in x_ticks:
        across = f"{x_of(tick):.1f}"
        shapes.append(f"<path class=line d='M{across} {_TOP - 14}V{floor}'/>")
        shapes.append(f"<text x={across} y={floor + 20} text-anchor=middle>{tick:.10g}</text>")
    for tick in y_ticks:
        down = f"{y_of(tick / 100):.1f}"
        shapes.append(f"<path class=line d='M{_LEFT} {down}H{end}'/>")
        shapes.append(f"<text x={_LEFT - 10} y={down} dy=4 text-anchor=end>{tick:.10g}</text>")
    places = [(x_of(time), y_of(share)) for _, time, share in points]
    labels = _label_places(places, [row.name for row, _, _ in points])
    for (row, time, share), (x, y), (at, line) in zip(points, places, labels, strict=True):
        if abs(line - y) > 9:
            near = at + 2 if at > x else at + _text_width(row.name) - 2
            shapes.append(f"<path class=leader d='M{x:.1f} {y:.1f}L{near:.1f} {line:.1f}'/>")
        tip = f"{row.name}: {number(time)} ms, {percent(share)} %"
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
    """Where each name starts, (x, y) px: the nearest free place beside its point."""
    taken = [(x - 8, y - 8, x + 8, y + 8) for x, y in places]
    starts = []
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
        starts.append((start, y + offset))
    return starts


def _text_width(text: str) -> float:
    return 7.4 * len(text)  # px, a generous estimate for a sans serif of 13 px


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
