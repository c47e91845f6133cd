import contextlib
import hashlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from unet_edge.system.atomic_folders import (
    clear_leftovers,
    folder_written_atomically,
    temporary_files_beside,
)
from unet_edge.system.files import sha256, write_atomically


def tree(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


@pytest.fixture
def _umask_027():
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.mark.parametrize(("data", "expected"), [(b"\x00\xff", b"\x00\xff"), ("ä\n", b"\xc3\xa4\n")])
def test_a_file_holds_the_written_data(tmp_path, data, expected):
    write_atomically(tmp_path / "deep" / "er" / "file", data)
    assert (tmp_path / "deep" / "er" / "file").read_bytes() == expected
    assert tree(tmp_path / "deep") == ["er", "er/file"]


def test_a_file_is_replaced(tmp_path):
    write_atomically(tmp_path / "file", "a much longer text")
    write_atomically(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "new"


@pytest.fixture
def fail_renaming(monkeypatch):
    """Makes the renames of the given numbers fail, counted from 1."""

    def install(failure, *numbers):
        count = itertools.count(1)

        def failing(rename):
            def wrapped(*args, **options):
                if next(count) in numbers:
                    raise failure
                return rename(*args, **options)

            return wrapped

        for name in ("rename", "replace"):
            monkeypatch.setattr(os, name, failing(getattr(os, name)))

    return install


@pytest.mark.parametrize("failure", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, fail_renaming, failure):
    write_atomically(tmp_path / "file", "old")
    fail_renaming(failure, 1)
    with pytest.raises(type(failure)):
        write_atomically(tmp_path / "file", "new")
    assert tree(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "old"


@pytest.mark.usefixtures("_umask_027")
def test_files_and_folders_have_the_permissions_of_the_umask(tmp_path):
    # A temporary file is private, but the group must be able to read an export.
    write_atomically(tmp_path / "file", "")
    with folder_written_atomically(tmp_path / "folder"):
        pass
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o750


def test_a_folder_appears_when_it_is_complete(tmp_path):
    target = tmp_path / "deep" / "bundle"
    with folder_written_atomically(target) as folder:
        (folder / "a").write_text("1")
        assert not target.exists()
        assert target.parent in folder.parents  # the same file system: a rename is possible
    assert tree(tmp_path) == ["deep", "deep/bundle", "deep/bundle/a"]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "bundle"
    target.mkdir()
    (target / "old").write_text("1")
    with folder_written_atomically(target) as folder:
        (folder / "new").write_text("2")
        assert tree(target) == ["old"]
    assert tree(tmp_path) == ["bundle", "bundle/new"]


@pytest.mark.parametrize("failure", [RuntimeError("no space"), KeyboardInterrupt()])
@pytest.mark.parametrize("there_was_one", [True, False])
def test_a_failed_block_changes_nothing(tmp_path, failure, there_was_one):
    target = tmp_path / "bundle"
    if there_was_one:
        target.mkdir()
        (target / "old").write_text("1")
    before = tree(tmp_path)

    def write():
        with folder_written_atomically(target) as folder:
            (folder / "half").write_text("2")
            raise failure

    with pytest.raises(type(failure)):
        write()
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "number", [1, 2], ids=["moving the old folder aside", "moving the new folder in"]
)
@pytest.mark.parametrize("failure", [OSError("no"), KeyboardInterrupt()])
def test_a_failed_rename_brings_the_old_folder_back(tmp_path, fail_renaming, failure, number):
    target = tmp_path / "bundle"
    target.mkdir()
    (target / "old").write_text("1")
    fail_renaming(failure, number)
    with pytest.raises(type(failure)), folder_written_atomically(target) as folder:
        (folder / "new").write_text("2")
    assert tree(tmp_path) == ["bundle", "bundle/old"]


def test_an_old_folder_that_cannot_be_restored_is_not_deleted(tmp_path, fail_renaming):
    target = tmp_path / "bundle"
    target.mkdir()
    (target / "old").write_text("the only copy")
    fail_renaming(OSError("no"), 2, 3)  # neither moving the new folder in nor the old one back
    with pytest.raises(OSError, match="no"), folder_written_atomically(target):
        pass
    assert [p.read_text() for p in tmp_path.rglob("old") if p.is_file()] == ["the only copy"]


def test_sha256_is_in_hexadecimal_digits():
    assert sha256(b"abc") == hashlib.sha256(b"abc").hexdigest()
    # FIPS 180-2, appendix B.1
    assert sha256(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# --- killed -----------------------------------------------------------------------------------

WRITER = """
import os, signal, sys
from pathlib import Path
from unet_edge.system.atomic_folders import folder_written_atomically

left = int(sys.argv[2])

def dying(function):
    def wrapped(*args, **options):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **options)
    return wrapped

for name in ("mkdir", "rename", "rmdir", "unlink", "open"):
    setattr(os, name, dying(getattr(os, name)))
Path.write_text = dying(Path.write_text)
with folder_written_atomically(Path(sys.argv[1])) as folder:
    (folder / "a").write_text("new")
    (folder / "b").write_text("new")
"""


@pytest.mark.parametrize("there_was_one", [True, False])
def test_killed_before_any_step_a_folder_is_old_new_or_absent_and_is_restored(
    tmp_path, there_was_one
):
    """A process dies before its n-th change of the file system, for every n."""
    outcomes = []
    for step in itertools.count(1):
        place = tmp_path / str(step)
        target = place / "bundle"
        place.mkdir()
        if there_was_one:
            target.mkdir()
            (target / "a").write_text("old")
        before = {"a": "old"} if there_was_one else None
        ended = subprocess.run([sys.executable, "-c", WRITER, target, str(step)], check=False)
        contents = content(target)
        assert contents in (before, None, {"a": "new", "b": "new"}), step
        clear_leftovers(target)
        # Without the leftovers, the old folder is restored, unless the new one is complete.
        assert content(target) in (before, {"a": "new", "b": "new"}), step
        assert [path.name for path in place.iterdir()] == (["bundle"] if content(target) else [])
        outcomes.append((contents, content(target)))
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL
    assert outcomes[0] == (before, before)
    assert outcomes[-1][0] == {"a": "new", "b": "new"}
    # When killed between the two renames, the old folder was aside and is restored.
    if there_was_one:
        assert (None, before) in outcomes


def test_a_partly_deleted_folder_is_never_restored(tmp_path):
    """As above, but the target is deleted before the next process looks for leftovers."""
    for step in itertools.count(1):
        target = tmp_path / str(step) / "bundle"
        target.mkdir(parents=True)
        old = dict.fromkeys("acde", "old")
        for name, text in old.items():
            (target / name).write_text(text)
        ended = subprocess.run([sys.executable, "-c", WRITER, target, str(step)], check=False)
        shutil.rmtree(target, ignore_errors=True)
        clear_leftovers(target)
        assert content(target) in (None, old), step
        if ended.returncode == 0:
            break


def content(folder):
    return {p.name: p.read_text() for p in folder.iterdir()} if folder.is_dir() else None


def test_running_processes_and_other_folders_are_left_alone(tmp_path):
    target = tmp_path / "bundle"
    (tmp_path / ".bundle.mine").mkdir()
    (tmp_path / "bundle.unet-edge-x").mkdir()
    with folder_written_atomically(target) as folder:
        (folder / "a").write_text("1")
        clear_leftovers(target)
        with folder_written_atomically(target) as other:
            (other / "a").write_text("2")
        assert content(target) == {"a": "2"}
    assert content(target) == {"a": "1"}
    assert tree(tmp_path) == [".bundle.mine", "bundle", "bundle.unet-edge-x", "bundle/a"]


@pytest.mark.parametrize("failure", [None, RuntimeError("no")])
def test_temporary_files_are_beside_the_target_and_are_deleted(tmp_path, failure):
    target = tmp_path / "bundle[1]"  # a name that is a pattern for glob

    def work():
        with temporary_files_beside(target):
            assert tmp_path in Path(tempfile.gettempdir()).parents
            Path(tempfile.mkdtemp(), "left by a converter").write_text("1")
            if failure:
                raise failure

    before = tempfile.gettempdir()
    with pytest.raises(RuntimeError) if failure else contextlib.nullcontext():
        work()
    assert tempfile.gettempdir() == before
    assert tree(tmp_path) == []


def test_ctrl_c_is_raised_after_temporary_files_are_deleted(tmp_path, monkeypatch):
    deleting, calls = shutil.rmtree, []

    def interrupted(*arguments, **settings):
        calls.append(arguments)
        if len(calls) == 1:
            raise KeyboardInterrupt
        deleting(*arguments, **settings)

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt), temporary_files_beside(tmp_path / "bundle"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_temporary_files_that_a_thread_still_writes_are_deleted(tmp_path, monkeypatch):
    deleting, late = shutil.rmtree, []

    def written_to_meanwhile(folder, **settings):
        deleting(folder, **settings)
        if not late:  # like a thread of a converter
            late.append((folder / "tmp").mkdir(parents=True))

    monkeypatch.setattr(shutil, "rmtree", written_to_meanwhile)
    with temporary_files_beside(tmp_path / "bundle"):
        pass
    assert list(tmp_path.iterdir()) == []
