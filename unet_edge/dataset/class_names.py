"""Names of --classes that look mistaken: a misplaced background, and names that are typed wrong."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Collection, Sequence

from unet_edge.palette import BACKGROUNDS


def misplaced_background(classes: Sequence[str]) -> str | None:
    """The class after the first that is called background; None without one."""
    if classes[0].lower() in BACKGROUNDS:
        return None
    return next((name for name in classes if name.lower() in BACKGROUNDS), None)


def background_first(classes: Sequence[str]) -> str:
    """Write the fix for a first class that is not the background: the complete option."""
    background = misplaced_background(classes) or "background"
    named = [background, *(name for name in classes if name != background)]
    return f"name the background first: {_option(named)}"


def name_drawn(classes: Sequence[str], drawn: Collection[str]) -> str:
    """Write the fix for drawn names that are not among the classes: the complete option.

    A drawn name replaces a class that was not drawn and has a similar name, or that is called
    background as well.
    """
    # Of the default of --classes, a person chose only the background.
    default = list(classes) == ["background", "object"] and "object" not in drawn
    named = ["background"] if default else list(classes)
    typos = []
    for name in sorted(set(drawn) - set(classes)):
        background = name.lower() in BACKGROUNDS
        unused = {
            each.lower(): each
            for each in named
            if each not in drawn and (each.lower() in BACKGROUNDS) == background
        }
        cutoff = 0.0 if background else 0.6  # bg stands for background
        if close := difflib.get_close_matches(name.lower(), list(unused), n=1, cutoff=cutoff):
            mistaken = unused[close[0]]
            named[named.index(mistaken)] = name
            typos.append(f"{name} for {mistaken}")
        else:
            named.append(name)
    if typos:
        return f"did you mean {', '.join(typos)}? Then pass {_option(named)}"
    return f"name them with --classes, the background first: {_option(named)}"


def _option(classes: Sequence[str]) -> str:
    return f"--classes {shlex.quote(','.join(classes))}"
