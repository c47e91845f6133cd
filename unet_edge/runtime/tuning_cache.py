"""The choice of `unet-edge tune` for a bundle on this machine, stored in a file.

The file lies in the bundle's folder, but is not part of the bundle. Where the folder is
write-protected, it lies in the user's settings. Opening a bundle reads it, so this must be fast.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unet_edge.bundle.bundle import Bundle
from unet_edge.bundle.manifest import MANIFEST
from unet_edge.runtime.packages import PACKAGES, Package
from unet_edge.runtime.threads import processors
from unet_edge.system.files import json_text, read_regular, sha256, write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator

TUNING = "tuning.json"
KIND = "unet-edge tuning"
SCHEMA = 1

_MOST_BYTES = 2**20
"""A larger file is not read. Ours have about 5 kB."""


@dataclass(frozen=True)
class Tuned:
    """A choice, and the machine, bundle and interpreters for which it counts.

    `interpreter` is the name and version that ran `file`. `bundle` is the SHA-256 of the
    manifest, `machine` the result of `this_machine`, `installed` the version of each interpreter,
    and `date` is in ISO 8601.
    """

    file: str
    backend: Package
    threads: int
    interpreter: str
    bundle: str
    machine: dict[str, Any]
    installed: dict[str, str]
    date: str

    def __str__(self) -> str:
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{self.file} by {self.interpreter} on {threads}"


@dataclass(frozen=True)
class StoredTuning:
    """A stored choice; `stale` says why it does not count here, None where it does.

    `tuned` is None where the file cannot be read.
    """

    path: Path
    tuned: Tuned | None
    stale: str | None


def load_tuning(bundle: Bundle) -> StoredTuning | None:
    """The stored choice of a bundle that counts, else a stale one, None where none is stored.

    Another version of the interpreter shows when the interpreter is opened; see also `changes`.
    """
    first_stale: StoredTuning | None = None
    for path in _paths(bundle):
        try:
            text = read_regular(path, _MOST_BYTES)
        except FileNotFoundError:
            continue
        except OSError as error:
            stored = StoredTuning(path, None, f"it cannot be read: {error.strerror or error}")
        else:
            stored = _checked(bundle, path, text)
        if stored.stale is None:
            return stored
        first_stale = first_stale or stored
    return first_stale


def save_tuning(bundle: Bundle, tuned: Tuned, path: Path, measured: list[dict[str, Any]]) -> None:
    """Write a choice and the figures `measured` to the path of `writable_path`, atomically."""
    data = {"kind": KIND, "schema": SCHEMA, **dataclasses.asdict(tuned), "measured": measured}
    write_atomically(path, json_text(data))
    for earlier in _paths(bundle):
        if earlier == path:
            break
        earlier.unlink(missing_ok=True)  # it is older, but would be read first


def delete_tuning(bundle: Bundle) -> list[Path]:
    """Delete the stored choices of a bundle; return the deleted files."""
    deleted = [path for path in _paths(bundle) if path.is_file()]
    for path in deleted:
        path.unlink()
    return deleted


def writable_path(bundle: Bundle) -> Path:
    """Where a choice can be written: in the bundle's folder, else in the user's settings.

    Raises OutputError when neither is writable.
    """
    from unet_edge.errors import OutputError
    from unet_edge.system.files import require_writable_path

    *settings, in_bundle = _paths(bundle)
    try:
        require_writable_path(in_bundle)
        return in_bundle
    except OutputError as error:
        for path in settings:
            with contextlib.suppress(OutputError):
                require_writable_path(path)
                return path
        raise OutputError(
            error.found,
            expected=error.expected,
            fix="copy the bundle to where you may write",
            subject=error.subject,
        ) from error


def this_machine() -> dict[str, Any]:
    """What a choice depends on besides the interpreter: the board and the usable processors."""
    # Here, not at the top: only a stored choice needs them.
    from unet_edge.system.board import hardware_name, read_processor

    here = read_processor()
    return {
        "model": hardware_name(),
        "architecture": here.architecture,
        "int8": here.int8,
        "processors": processors(),
    }


def bundle_key(bundle: Bundle) -> str:
    """The SHA-256 of the manifest, which holds the digest and the floor of every file."""
    return bundle.digest or sha256((bundle.path / MANIFEST).read_bytes())


def changes(tuned: Tuned) -> dict[str, tuple[str | None, str | None]]:
    """Interpreters that changed since the choice, each with its old and new version."""
    from unet_edge.runtime.interpreters import installed_versions

    now = installed_versions()
    names = [package for packages in PACKAGES.values() for package in packages]
    pairs = {name: (tuned.installed.get(name), now.get(name)) for name in names}
    return {name: (then, here) for name, (then, here) in pairs.items() if then != here}


def describe(bundle: Bundle) -> str:
    """One line for people: which choice opening the bundle uses, and whether to tune again."""
    tune = f"'unet-edge tune {bundle.path}'"
    stored = load_tuning(bundle)
    if stored is None:
        return f"not tuned on this machine: {tune} finds the fastest file and interpreter"
    if stored.tuned is None or stored.stale:
        return f"{stored.path} is not used: {stored.stale}; {tune} measures here"
    since = changes(stored.tuned)
    changed = "; ".join(_change(name, *versions) for name, versions in since.items())
    if stored.tuned.backend in since:
        return f"{stored.path} is not used: since then {changed}; {tune} measures again"
    line = f"tuned on {stored.tuned.date[:10]}: {stored.tuned}"
    return f"{line}; since then {changed}; {tune} measures again" if since else line


def _change(name: str, then: str | None, now: str | None) -> str:
    if now is None:
        return f"{name} {then} was removed"
    return f"{name} {now} was installed" + (f" over {then}" if then else "")


def _paths(bundle: Bundle) -> Iterator[Path]:
    """Where a choice may lie, first the user's settings: they are only written when needed."""
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")  # noqa: PTH111
    if os.path.isabs(home):  # noqa: PTH117  # a "~" that stays has no home
        # Named after the folder: two copies of a bundle may be tuned differently.
        name = sha256(str(bundle.path.absolute()).encode())[:16]
        yield Path(home) / "unet-edge" / f"tuning-{name}.json"
    yield bundle.path / TUNING


def _checked(bundle: Bundle, path: Path, text: bytes) -> StoredTuning:
    try:
        tuned = _parse(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return StoredTuning(path, None, "it is damaged, or of a newer unet-edge")
    stale = None
    formats = {entry.name: entry.format for entry in bundle.promising()}
    if tuned.machine != this_machine():
        here = _machine_name(this_machine())
        stale = f"it was measured on {_machine_name(tuned.machine)}, this is {here}"
    elif tuned.bundle != bundle_key(bundle):
        stale = "the bundle was exported again since"
    elif tuned.file not in formats or tuned.backend not in PACKAGES[formats[tuned.file]]:
        stale = f"this bundle has no {tuned.file} that {tuned.backend} may run"
    return StoredTuning(path, tuned, stale)


def _machine_name(machine: dict[str, Any]) -> str:
    model = machine.get("model") or machine.get("architecture")
    kind = f" ({machine['int8']})" if "int8" in machine else ""
    return f"{model}{kind} with {machine.get('processors')} processors"


def _parse(data: Any) -> Tuned:
    """The choice in a file; raises ValueError, KeyError, TypeError or AttributeError for others."""
    if data["kind"] != KIND or data["schema"] != SCHEMA:
        raise ValueError(data["kind"])
    tuned = Tuned(**{field.name: data[field.name] for field in dataclasses.fields(Tuned)})
    texts = (tuned.file, tuned.backend, tuned.interpreter, tuned.bundle, tuned.date)
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(texts)
    if not tuned.interpreter.startswith(f"{tuned.backend} "):
        raise ValueError(tuned.interpreter)
    if type(tuned.threads) is not int or not 1 <= tuned.threads <= 1024:
        raise ValueError(tuned.threads)
    if not all(isinstance(value, dict) for value in (tuned.machine, tuned.installed)):
        raise TypeError(tuned.machine)
    return tuned
