"""What MkDocs adds to the pages of this folder.

- Pages for the command line, one for each command, written from the click commands.
- Pages that lie elsewhere in the repository: CONTRIBUTING, SECURITY, CHANGELOG and the committed
  tables of figures. Links to them are written for the repository and rewritten for the site.
- A check that no page of the finished site fetches anything from elsewhere.
"""

from __future__ import annotations

import html
import inspect
import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from unet_edge.cli import main

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

_LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
_FETCHES = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']?(?:https?:)?//"""
    r"""|<link\b(?=[^>]*\brel=["']?(?:stylesheet|preconnect|preload|icon))"""
    r"""[^>]*\bhref=["']?(?:https?:)?//"""
)


def _pages_of_the_repository() -> dict[str, str]:
    """Every page of the site that is a file of the repository: its path there, its path here."""
    elsewhere = {
        "CHANGELOG.md": "changelog.md",
        "CONTRIBUTING.md": "contributing.md",
        "SECURITY.md": "security.md",
        # The site's first page starts as the README does, and says more.
        "README.md": "index.md",
    }
    for table in sorted((ROOT / "benchmarks" / "reference").glob("*.md")):
        elsewhere[f"benchmarks/reference/{table.name}"] = f"reference/{table.name}"
    own = (path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
    return elsewhere | {f"docs/{name}": name for name in own}


PAGES = _pages_of_the_repository()
GENERATED = {page: source for source, page in PAGES.items() if not source.startswith("docs/")}
del GENERATED["index.md"]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Expand the entries of the navigation that stand for a folder."""
    config.nav = _expanded(config.nav)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not files of this folder."""
    for page, source in GENERATED.items():
        text = (ROOT / source).read_text("utf-8")
        files.append(File.generated(config, page, content=text))
    for page, text in _command_pages().items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links between files of the repository at the site's pages."""
    here = page.file.src_uri
    source = GENERATED.get(here, f"docs/{here}")

    def site_link(match: re.Match[str]) -> str:
        before, target, after = match.groups()
        found = PAGES.get(posixpath.normpath(posixpath.join(posixpath.dirname(source), target)))
        if found is None:
            return match[0]
        return before + posixpath.relpath(found, posixpath.dirname(here) or ".") + after

    return _LINK.sub(site_link, markdown)


def on_post_build(config: MkDocsConfig) -> None:
    """Fail if a page loads a script, style, font or picture from elsewhere."""
    for path in Path(config.site_dir).rglob("*.html"):
        if found := _FETCHES.search(path.read_text("utf-8")):
            raise PluginError(f"{path.name} fetches something from elsewhere: {found[0]}")


def _expanded(items: list[Any]) -> list[Any]:
    """The navigation with each "folder/*" replaced by that folder's pages."""
    found: list[Any] = []
    for item in items:
        if isinstance(item, dict):
            found += [
                {name: _expanded(value) if isinstance(value, list) else value}
                for name, value in item.items()
            ]
        elif item == "commands/*":
            found += [{_name_of(page): page} for page in _command_pages()]
        elif item.endswith("/*"):
            folder = item.removesuffix("*")
            pages = sorted(page for page in PAGES.values() if page.startswith(folder))
            found += _titled([page for page in pages if not page.endswith("/index.md")])
        else:
            found.append(item)
    return found


def _titled(pages: list[str]) -> list[str | dict[str, str]]:
    """The pages; those that share a title are told apart by the end of their names."""
    sources = {page: source for source, page in PAGES.items()}
    titles = {
        page: (ROOT / sources[page]).read_text("utf-8").splitlines()[0].lstrip("# ")
        for page in pages
    }
    shared = [title for title, times in Counter(titles.values()).items() if times > 1]
    return [
        {f"{title} ({' '.join(Path(page).stem.split('-')[-2:])})": page}
        if title in shared
        else page
        for page, title in titles.items()
    ]


def _name_of(page: str) -> str:
    name = Path(page).stem
    return "Overview" if name == "index" else name.replace("-", " ", 1)


def _commands(group: click.Group, context: click.Context) -> Iterator[click.Context]:
    """A context for each command, those of groups within groups too."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        own = click.Context(command, info_name=name, parent=context)
        if isinstance(command, click.Group):
            yield from _commands(command, own)
        else:
            yield own


def _command_pages() -> dict[str, str]:
    """A page for each command, and one that lists them."""
    top = click.Context(main, info_name="unet-edge")
    pages, rows = {}, []
    for context in _commands(main, top):
        name = context.command_path.removeprefix("unet-edge ")
        file = f"{name.replace(' ', '-')}.md"
        rows.append(f"| [`{name}`]({file}) | {_paragraphs(context.command)[0]} |")
        pages[f"commands/{file}"] = _command_page(context)
    overview = (
        "# Command line\n\nEach page is written from the command itself; `unet-edge COMMAND "
        "--help` prints the same (`train --help-all` all of `train`). The exit status is 0 on "
        "success, 1 when a command found a "
        "fault or failed, 2 for a wrong command line and 130 after Ctrl-C.\n\n"
        "| command | what it does |\n|---|---|\n"
    )
    return {"commands/index.md": overview + "\n".join(rows) + "\n", **pages}


def _paragraphs(command: click.Command) -> list[str]:
    return inspect.cleandoc(command.help or "").split("\n\n")


def _command_page(context: click.Context) -> str:
    command = context.command
    parts = [f"# unet-edge {context.command_path.removeprefix('unet-edge ')}"]
    examples = []
    for paragraph in _paragraphs(command):
        if paragraph.startswith("\b\n"):  # click's mark for lines that stay as they are
            title, _, rest = paragraph.removeprefix("\b\n").partition("\n")
            examples.append(f"## {title.rstrip(':')}\n\n```sh\n{inspect.cleandoc(rest)}\n```")
        else:
            parts.append(_escaped(" ".join(paragraph.split())))
    pieces = command.collect_usage_pieces(context)
    parts.append(f"```text\n{context.command_path} {' '.join(pieces)}\n```")
    parts += examples
    rows = [
        record
        for parameter in command.get_params(context)
        if (record := parameter.get_help_record(context)) is not None and record[1]
    ]
    table = "\n".join(f"| {_option(option)} | {_cell(text)} |" for option, text in rows)
    parts.append(f"## Options\n\n| option | meaning |\n|---|---|\n{table}")
    return "\n\n".join(parts) + "\n"


def _escaped(text: str) -> str:
    """Text of a help page that Markdown leaves as it is."""
    return re.sub(r"([\\`*_\[\]])", r"\\\1", html.escape(text, quote=False))


def _cell(text: str) -> str:
    return _escaped(" ".join(text.split())).replace("|", "&#124;")


def _option(text: str) -> str:
    """An option as code. A span of backticks would show how a bar is escaped in a table."""
    return f"<code>{_cell(text).replace('&#124;', '&#124;<wbr>')}</code>"


# click would fold usage and options to the width of a terminal that is not there.
os.environ["COLUMNS"] = "1000"
