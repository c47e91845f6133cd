"""Times and rates as text for people."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Format a time for people: 0.12 s, 40 s, 12 min, 3 h 20 min."""
    if 0 < seconds < 0.001:
        return "under 1 ms"
    if seconds < 10:
        return f"{rounded(seconds, 2)} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def rounded(value: float, digits: int) -> str:
    """Round to significant digits without an exponent; below 0.001 it is 0."""
    return f"{value:.0f}" if value >= 10 ** (digits - 1) else f"{round(value, 3):.{digits}g}"
