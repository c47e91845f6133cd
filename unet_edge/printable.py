"""Names of files as text that a terminal shows and does not act upon."""

from __future__ import annotations


def printable(text: object) -> str:
    r"""The text with control characters, newlines and lone surrogates as \\x1b and the like.

    A name that is not UTF-8 holds surrogates, which cannot be printed.
    """
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shown
    )
