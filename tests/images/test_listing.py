"""Patterns of pictures, with links among the folders."""

from __future__ import annotations

import glob
from pathlib import Path

import pytest

from unet_edge.errors import DataError
from unet_edge.images.listing import distinct, list_pictures


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a.png", "1/b.png", "1/x[1]/c.jpg", "1/x[1]/notes.txt", "2/d.png", ".h/e.png"):
        path = tmp_path / "dir" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path / "dir"


def found(root: Path, pattern: str) -> list[str]:
    pictures = list_pictures(root / pattern)
    assert pictures
    return sorted(picture.relative_to(root).as_posix() for picture in pictures)


@pytest.mark.parametrize(
    "pattern",
    ["**/*.png", "**", "*", "1/**", "**/x*/*", "**/**/*.png", "*/**/*.jpg", "?/*.png", "**/1/**"],
)
def test_without_links_patterns_match_as_in_glob(tree: Path, pattern: str) -> None:
    matches = map(Path, glob.glob(str(tree / pattern), recursive=True))  # noqa: PTH207
    expected: set[Path] = set()
    for match in matches:
        files = match.iterdir() if match.is_dir() else [match]
        expected |= {path for path in files if path.suffix in (".png", ".jpg")}
    assert found(tree, pattern) == sorted(path.relative_to(tree).as_posix() for path in expected)


def test_relative_patterns(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    assert list_pictures(Path("**/*.png")) == [Path("1/b.png"), Path("2/d.png"), Path("a.png")]
    assert list_pictures(Path("../dir/**/c*")) == [Path("../dir/1/x[1]/c.jpg")]


def test_links_that_lead_back(tree: Path) -> None:
    (tree / "loop").symlink_to(".")
    (tree / "1" / "up").symlink_to("..")
    (tree / "2" / "across").symlink_to("../1")
    assert found(tree, "**/*.png") == ["1/b.png", "2/d.png", "a.png"]
    assert found(tree, "**") == ["1/b.png", "1/x[1]/c.jpg", "2/d.png", "a.png"]
    assert found(tree, "*/*.png") == ["1/b.png", "2/d.png", "loop/a.png"]
    assert found(tree, "*/*/*.png") == ["1/up/a.png", "2/across/b.png", "loop/2/d.png"]


def test_links_to_folders_elsewhere_are_entered_once(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "disk" / "more").mkdir(parents=True)
    (tmp_path / "disk" / "more" / "z.png").write_bytes(b"")
    (tree / "a-link").symlink_to("../disk")
    (tree / "b-link").symlink_to("../disk/more")
    assert found(tree, "**/*.png") == ["1/b.png", "2/d.png", "a-link/more/z.png", "a.png"]


def test_links_to_pictures_are_pictures(tree: Path) -> None:
    (tree / "2" / "same.png").symlink_to("d.png")
    assert found(tree, "2/*.png") == ["2/d.png", "2/same.png"]


def test_a_folder_that_is_named_twice(tree: Path) -> None:
    (tree / "again").symlink_to("1")
    twice = [*list_pictures(tree / "1"), *list_pictures(tree / "again")]
    assert distinct(twice) == [tree / "1" / "b.png"]


def test_a_pattern_without_matches(tree: Path) -> None:
    with pytest.raises(DataError, match=r"no pictures \(.*\) match "):
        list_pictures(tree / "**" / "*.webp")


def test_the_error_of_a_folder_with_pictures_deeper_gives_the_pattern(tree: Path) -> None:
    (tree / "a.png").unlink()
    with pytest.raises(
        DataError, match=r"only in its sub-folders; give the pattern '(.*)'"
    ) as error:
        list_pictures(tree)
    pattern = str(error.value).split("'")[1]
    assert [path.name for path in list_pictures(Path(pattern))] == ["b.png", "c.jpg", "d.png"]
