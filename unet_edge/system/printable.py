"""Names of files as text that a terminal shows and does not act upon."""

from __future__ import annotations


def printable(text: object) -> str:
    r"""The text with what is no printable character escaped, e.g. as \\x1b.

    That is control characters, newlines, and the lone surrogates that stand in a name which is not
    UTF-8.
    """
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shown
    )
