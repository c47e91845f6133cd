"""A command with many options: --help shows the common ones, --help-all all, in sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

_ALL = f"{__name__}.all"


class SectionedCommand(click.Command):
    """A command whose --help shows `common` parameters, and --help-all `sections` of them.

    Both name parameters; together the sections name all.
    """

    def __init__(
        self,
        *args: Any,
        common: Sequence[str],
        sections: Mapping[str, Sequence[str]],
        **settings: Any,
    ) -> None:
        """As click.Command."""
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
        """Write the options, all of them where --help-all asks for them."""
        records = {
            parameter.name: record
            for parameter in self.get_params(ctx)
            if (record := parameter.get_help_record(ctx))
        }
        help_option = self.get_help_option(ctx)
        helps = ["help_all", *([help_option.name] if help_option else [])]
        sections: dict[str, Sequence[str]] = {"Options": [*self._common, *helps]}
        if ctx.meta.get(_ALL):
            sections = {**self._sections, "Help": helps}
        for title, names in sections.items():
            with formatter.section(title):
                formatter.write_dl([records[name] for name in names])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write below the common options where the others are."""
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
