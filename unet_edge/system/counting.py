"""Counts and lists of names as text."""

from __future__ import annotations

from collections.abc import Sequence


def counted(number: int, noun: str) -> str:
    """Write "1 class" or "2 classes"; `noun` is the singular."""
    if number == 1:
        return f"1 {noun}"
    return f"{number} {noun}{'es' if noun.endswith('s') else 's'}"


def first_names(names: Sequence[str], most: int = 3) -> str:
    """Join the first names, and add … if there are more."""
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
