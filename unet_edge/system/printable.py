"""File names as text without terminal control sequences."""

from __future__ import annotations


def printable(text: object) -> str:
    r"""Escape what is not printable, such as \x1b.

    That is control characters, line breaks, and the lone surrogates of names that are not UTF-8.
    """
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shown
    )
