"""Charts of a benchmark as coordinates, which the report's template draws as SVG."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from unet_edge.benchmarking.results import ModelResult
from unet_edge.benchmarking.sustained import Sustained
from unet_edge.benchmarking.tables import number
from unet_edge.percent import percent

_WIDTH, _HEIGHT = 900, 350
_LINES_HEIGHT = 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 24, 30, 56  # px around the axes


@dataclass(frozen=True)
class Frame:
    """The axes of a chart: its size, the sides of the plot in px, and (position, text) of ticks."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    x_title: str
    y_title: str


@dataclass(frozen=True)
class Point:
    """A variant's place, with its name at (`text_x`, `text_y`) and a line to it, or None.

    `on_front` says that no other is both faster and closer to Keras.
    """

    label: str
    kind: str
    tip: str
    x: float
    y: float
    text_x: float
    text_y: float
    leader_x: float | None
    on_front: bool


@dataclass(frozen=True)
class Scatter:
    """Time against agreement; `front` is the path along the best variants."""

    frame: Frame
    points: tuple[Point, ...]
    front: str


@dataclass(frozen=True)
class Lines:
    """A figure over minutes, as the points of a polyline."""

    frame: Frame
    points: str


def pareto_front(points: Sequence[tuple[float, float]]) -> tuple[int, ...]:
    """The indices of (time, agreement) that no other beats in one without losing in the other.

    They are ordered by time. Of equal points, all are on the front.
    """
    return tuple(
        sorted(
            (
                index
                for index, (time, share) in enumerate(points)
                if not any(t <= time and s >= share and (t, s) != (time, share) for t, s in points)
            ),
            key=lambda index: points[index],
        )
    )


def scatter(rows: Sequence[ModelResult]) -> Scatter | None:
    """Time against agreement of the rows that ran; the axis of time is logarithmic if wide."""
    points = [(row, row.cost.p50_ms, row.cost.agreement) for row in rows if row.cost]
    if not points:
        return None
    times = [time for _, time, _ in points]
    logarithmic = max(times) > 5 * min(times)
    x_ticks = _log_ticks(min(times), max(times)) if logarithmic else _ticks(0, max(times))
    y_ticks = _ticks(min(99.99, *(100 * share for _, _, share in points)), 100)
    scale = math.log10 if logarithmic else float
    unit = "ms, logarithmic" if logarithmic else "ms"
    frame = Frame(
        *(_WIDTH, _HEIGHT, _LEFT, _WIDTH - _RIGHT, _TOP, _HEIGHT - _BOTTOM),
        x_ticks=_placed([scale(tick) for tick in x_ticks], x_ticks, _LEFT, _WIDTH - _RIGHT),
        y_ticks=_placed(y_ticks, y_ticks, _HEIGHT - _BOTTOM, _TOP),
        x_title=f"median time for a whole picture, {unit}",
        y_title="pixels as Keras, %",
    )
    places = [
        (
            _between(scale(time), scale(x_ticks[0]), scale(x_ticks[-1]), frame.left, frame.right),
            _between(100 * share, y_ticks[0], 100, frame.bottom, frame.top),
        )
        for _, time, share in points
    ]
    front = pareto_front([(time, share) for _, time, share in points])
    labels = _label_places(places, [row.label for row, _, _ in points])
    drawn = []
    for index, ((row, time, share), (x, y), (at, line)) in enumerate(
        zip(points, places, labels, strict=True)
    ):
        near = at + 2 if at > x else at + _text_width(row.label) - 2
        drawn.append(
            Point(
                label=row.label,
                kind=row.format,
                tip=f"{row.label}: {number(time)} ms, {percent(share)} %",
                x=x,
                y=y,
                text_x=at,
                text_y=line,
                leader_x=near if abs(line - y) > 9 else None,
                on_front=index in front,
            )
        )
    steps = [f"{places[index][0]:.1f} {places[index][1]:.1f}" for index in front]
    return Scatter(frame, tuple(drawn), "M" + "L".join(steps))


def sustained_lines(sustained: Sustained) -> tuple[Lines, ...]:
    """Pictures a second, temperature and clock over the minutes, as far as they are known."""
    lines = []
    minutes = [each.seconds / 60 for each in sustained.samples]
    rates = [
        each.pictures / (each.seconds - before)
        for each, before in zip(
            sustained.samples,
            (0.0, *(each.seconds for each in sustained.samples)),
            strict=False,
        )
    ]
    for title, values in (
        ("pictures a second", rates),
        ("temperature, °C", [each.temperature for each in sustained.samples]),
        ("clock, MHz", [each.mhz for each in sustained.samples]),
    ):
        known = [
            (at, value) for at, value in zip(minutes, values, strict=True) if value is not None
        ]
        if known:
            lines.append(_line(known, minutes[-1], title))
    return tuple(lines)


def _line(known: Sequence[tuple[float, float]], end: float, title: str) -> Lines:
    x_ticks = _ticks(0, end)
    y_ticks = _ticks(0, 1.05 * max(value for _, value in known))
    frame = Frame(
        *(_WIDTH, _LINES_HEIGHT, _LEFT, _WIDTH - _RIGHT, _TOP, _LINES_HEIGHT - _BOTTOM),
        x_ticks=_placed(x_ticks, x_ticks, _LEFT, _WIDTH - _RIGHT),
        y_ticks=_placed(y_ticks, y_ticks, _LINES_HEIGHT - _BOTTOM, _TOP),
        x_title="minutes",
        y_title=title,
    )
    places = (
        (
            _between(at, x_ticks[0], x_ticks[-1], frame.left, frame.right),
            _between(value, y_ticks[0], y_ticks[-1], frame.bottom, frame.top),
        )
        for at, value in known
    )
    return Lines(frame, " ".join(f"{x:.1f},{y:.1f}" for x, y in places))


def _between(value: float, low: float, high: float, start: float, end: float) -> float:
    """Where a value between `low` and `high` is between two positions, px."""
    return start + (value - low) / (high - low) * (end - start)


def _placed(
    values: Sequence[float], names: Sequence[float], start: float, end: float
) -> tuple[tuple[float, str], ...]:
    """The position and the text of each tick."""
    return tuple(
        (_between(value, values[0], values[-1], start, end), f"{name:.10g}")
        for value, name in zip(values, names, strict=True)
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
