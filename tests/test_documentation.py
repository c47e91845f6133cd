"""README, CONTRIBUTING, CHANGELOG, SECURITY and docs/: links resolve, commands and Python parse."""

import ast
import importlib
import importlib.util
import re
import shlex

import click
import pytest
from paths import ROOT

from unet_edge import __version__, errors
from unet_edge.cli import main

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
OURS = ("unet_edge", "converters", "benchmarks")
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))

FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?:^|&&|/)\s*unet-edge\s+(.*)")


def blocks(page, *languages):
    """Yield the fenced blocks of these languages, without their indentation."""
    for indent, language, text in FENCE.findall(page.read_text("utf-8")):
        if language in languages:
            yield "".join(line.removeprefix(indent) for line in text.splitlines(True))


def anchors(page):
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


def links(page):
    prose = re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text("utf-8")))
    return LINK.findall(prose)


def broken(page):
    """Yield the broken internal links of a page."""
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        file = (page.parent / target).resolve() if target else page
        if not file.is_file() or (anchor and anchor not in anchors(file)):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_internal_links_are_not_broken(page):
    assert list(broken(page)) == []


def test_a_broken_link_and_a_broken_anchor_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# One's `two`\n[a](#ones-two) [b](#gone) [c](gone.md) [d](https://e.org) `[e](f)`\n"
    )
    assert list(broken(page)) == ["#gone", "gone.md"]


def commands(page):
    """Yield every `unet-edge …` in the page's blocks of commands, as words."""
    for block in blocks(page, "sh", "bash", ""):
        for line in block.replace("\\\n", " ").splitlines():
            if found := COMMAND.search(line.split(" #")[0]):
                words = shlex.shlex(found[1], posix=True, punctuation_chars="<>|&;()")
                words.whitespace_split = True
                yield [*_until_the_shell(words)]


def _until_the_shell(words):
    for word in words:
        if set(word) <= set("<>|&;()"):
            return
        yield word


def parse(words):
    """Parse a command line as click does, without looking for paths and without running it."""
    # With the settings of the group, since its context decides the help option of commands.
    command = main
    context = click.Context(main, info_name="unet-edge", **main.context_settings)
    while isinstance(command, click.Group):
        name, *words = words
        command = command.get_command(context, name)
        assert command is not None, f"there is no command {name}"
        context = click.Context(command, info_name=name, parent=context)
    values, rest, _ = command.make_parser(context).parse_args(list(words))
    if "help" in values or values.get("schema"):
        return
    assert not rest, f"{command.name} takes no {rest}"
    for parameter in command.params:
        given = values.get(parameter.name)
        if parameter.name not in values or parameter.value_is_missing(given):
            assert not parameter.required, f"{command.name} needs {parameter.name}"
        elif not isinstance(parameter.type, click.Path):
            parameter.type_cast_value(context, given)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_exist_with_these_options_and_arguments(page):
    for words in commands(page):
        try:
            parse(words)
        except click.UsageError as error:
            pytest.fail(f"unet-edge {shlex.join(words)}: {error.format_message()}")


@pytest.mark.parametrize(
    "line",
    [
        "export runs/cats --no-such-option",
        "export runs/cats too-many",
        "export",
        "segment bundle photo.jpg --edges round",
        "export runs/cats --golden few",
    ],
)
def test_a_wrong_command_is_found(line):
    with pytest.raises((click.UsageError, AssertionError)):
        parse(shlex.split(line))


def test_the_readme_and_the_guides_have_commands():
    assert sum(1 for page in PAGES for _ in commands(page)) > 50


def imported(tree):
    """Yield (module, name) of each import; the name may be None."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module, alias.name) for alias in node.names)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_python_compiles_and_its_imports_exist(page):
    for block in blocks(page, "python"):
        compile(block, page.name, "exec")
        for module, name in imported(ast.parse(block)):
            top = module.split(".")[0]
            if top not in OURS:
                continue  # such as mediapipe, which is not installed
            assert importlib.util.find_spec(module) is not None, module
            if name is not None:
                assert hasattr(importlib.import_module(module), name), f"{module}.{name}"


def test_the_api_page_names_every_error_and_only_what_exists():
    text = (ROOT / "docs" / "python-api.md").read_text("utf-8")
    named = re.findall(r"^::: (\S+)$", text, re.MULTILINE)
    every = {
        f"unet_edge.errors.{name}"
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.UnetEdgeError)
    }
    assert every <= set(named)
    for path in named:
        module, _, name = path.rpartition(".")
        if module.startswith("unet_edge"):  # converters import TensorFlow
            assert hasattr(importlib.import_module(module), name), path
        else:
            file = ROOT / f"{module.replace('.', '/')}.py"
            assert re.search(rf"^(def|class) {name}\b", file.read_text("utf-8"), re.MULTILINE)


def test_the_api_page_has_every_public_name():
    import unet_edge

    text = (ROOT / "docs" / "python-api.md").read_text("utf-8")
    documented = {
        path.rpartition(".")[2] for path in re.findall(r"^::: (\S+)$", text, re.MULTILINE)
    }
    assert set(unet_edge.__all__) <= documented


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 120


def test_the_tables_that_the_readme_links_are_committed():
    named = [link for link in links(ROOT / "README.md") if "benchmarks/reference" in link]
    assert named
    assert all((ROOT / name).is_file() for name in named)


def test_decisions_are_numbered_without_gaps_and_listed_in_the_index():
    assert [int(page.name[:3]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    index = (ROOT / "docs" / "decisions" / "index.md").read_text("utf-8")
    titles = [page.read_text("utf-8").splitlines()[0].removeprefix("# ") for page in DECISIONS]
    rows = [
        f"| {title[:3]} | [{title[5:]}]({page.name}) |"
        for title, page in zip(titles, DECISIONS, strict=True)
    ]
    assert [line for line in index.splitlines() if re.match(r"\| \d", line)] == rows


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_a_decision_has_its_four_parts(page):
    headings = re.findall(r"^## (.+)$", page.read_text("utf-8"), re.MULTILINE)
    assert headings == ["Context", "Decision", "Evidence", "Rejected"]


def test_pages_that_the_code_names_exist():
    source = [
        path
        for folder in (*OURS, "tests")
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "test_documentation.py"
    ]
    named = {
        page
        for path in source
        for page in re.findall(r"\bdocs/[\w/.-]+?\.md\b", path.read_text("utf-8"))
    }
    assert any(page.startswith("docs/decisions/") for page in named)
    assert [page for page in sorted(named) if not (ROOT / page).is_file()] == []


@pytest.mark.parametrize("name", NAMES)
def test_paths_of_the_repository_that_a_page_names_exist(name):
    text = (ROOT / name).read_text("utf-8")
    named = re.findall(r"`((?:unet_edge|converters|benchmarks|tests|docs)/[\w/.\-]+)`", text)
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_changelog_begins_with_unreleased_changes_and_this_version():
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    versions = re.findall(r"^## \[([^\]]+)\]", text, re.MULTILINE)
    assert versions[:2] == ["Unreleased", __version__]
