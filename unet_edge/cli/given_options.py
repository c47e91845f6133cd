"""The options of the running command as they were typed, for an error that repeats the command."""

from __future__ import annotations

from collections.abc import Collection

import click


def given_options(*, without: Collection[str] = ()) -> list[str]:
    """The options given on the command line, as words; `without` names parameters to leave out."""
    context = click.get_current_context()
    words: list[str] = []
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if not isinstance(parameter, click.Option) or name in without or source is None:
            continue
        value = context.params.get(name)
        if source.name != "COMMANDLINE" or value is None:
            continue
        words.append(parameter.opts[0])
        if not parameter.is_flag:
            joiner = "x" if name == "size" else ","
            text = joiner.join(map(str, value)) if isinstance(value, tuple) else str(value)
            words.append(text)
    return words
