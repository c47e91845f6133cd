"""A command with many options: --help shows the common ones, --help-all shows all by section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

_ALL = f"{__name__}.all"


class SectionedCommand(click.Command):
    """A command whose --help shows `common` options, and whose --help-all shows `sections`.

    Both hold names of parameters. The sections together hold every option.
    """

    def __init__(
        self,
        *args: Any,
        common: Sequence[str],
        sections: Mapping[str, Sequence[str]],
        **settings: Any,
    ) -> None:
        """Take the arguments of click.Command, the common options and the sections."""
        super().__init__(*args, **settings)
        self._common, self._sections = common, sections
        self.params.append(
            click.Option(
                ["--help-all"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_show_all,
                help="Show all options and exit.",
            )
        )

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the common options, or all of them by section for --help-all."""
        records = {
            parameter.name: record
            for parameter in self.get_params(ctx)
            if (record := parameter.get_help_record(ctx))
        }
        help_option = self.get_help_option(ctx)
        help_options = ["help_all", *([help_option.name] if help_option else [])]
        sections: dict[str, Sequence[str]] = {"Options": [*self._common, *help_options]}
        if ctx.meta.get(_ALL):
            sections = {**self._sections, "Help": help_options}
        for title, names in sections.items():
            with formatter.section(title):
                formatter.write_dl([records[name] for name in names])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write how to show the other options, below the common ones."""
        if not ctx.meta.get(_ALL):
            formatter.write_paragraph()
            formatter.write_text(
                "These are the options that most people need; "
                f"'{ctx.command_path} --help-all' shows all."
            )


def _show_all(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        ctx.meta[_ALL] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()
