"""What `unet-edge tune` chose for a bundle on this machine, remembered in a file.

The file lies in the bundle's folder, of which it is no member, or in the user's own settings where
that folder is write-protected. Opening a bundle reads it, so nothing here takes long.
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
    """A choice and what it holds for.

    `interpreter` is the name and version that ran `file`; `bundle` the manifest's SHA-256,
    `machine` what `this_machine` said, `installed` each interpreter with its version, `date` in
    ISO 8601.
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
class Remembered:
    """A file that was found at `place`: its choice, or `stale`, why it does not count here."""

    place: Path
    tuned: Tuned | None
    stale: str | None


def remembered(bundle: Bundle) -> Remembered | None:
    """What is remembered of a bundle, first of all what counts; None where nothing is.

    Whether the interpreter is still the same shows when it is opened, or see `changes`.
    """
    found: Remembered | None = None
    for place in _places(bundle):
        try:
            text = read_regular(place, _MOST_BYTES)
        except FileNotFoundError:
            continue
        except OSError as error:
            found = found or Remembered(
                place, None, f"it cannot be read: {error.strerror or error}"
            )
            continue
        one = _judged(bundle, place, text)
        if one.stale is None:
            return one
        found = found or one
    return found


def remember(bundle: Bundle, tuned: Tuned, place: Path, measured: list[dict[str, Any]]) -> None:
    """Write a choice to where `place_for` said, atomically, with what was `measured` beside it."""
    data = {"kind": KIND, "schema": SCHEMA, **dataclasses.asdict(tuned), "measured": measured}
    write_atomically(place, json_text(data))
    for other in _places(bundle):
        if other == place:
            break
        other.unlink(missing_ok=True)  # it would be found first, and is the older one


def forget(bundle: Bundle) -> list[Path]:
    """Delete what is remembered of a bundle; gives the files that were deleted."""
    deleted = [place for place in _places(bundle) if place.is_file()]
    for place in deleted:
        place.unlink()
    return deleted


def place_for(bundle: Bundle) -> Path:
    """Where a choice can be written: beside the bundle's members, else in the user's settings.

    Raises OutputError when neither can be written.
    """
    from unet_edge.errors import OutputError
    from unet_edge.system.files import require_writable_path

    *settings, beside = _places(bundle)
    try:
        require_writable_path(beside)
        return beside
    except OutputError as error:
        for place in settings:
            with contextlib.suppress(OutputError):
                require_writable_path(place)
                return place
        raise OutputError(
            f"{error}",
            fix="copy the bundle to where you may write",
        ) from error


def this_machine() -> dict[str, Any]:
    """What a choice depends on beside the interpreter: the board, and how much of it we may use."""
    # Here: without a choice nobody asks.
    from unet_edge.system.board import hardware_name, read_processor

    here = read_processor()
    return {
        "model": hardware_name(),
        "architecture": here.architecture,
        "int8": here.int8,
        "processors": processors(),
    }


def bundle_key(bundle: Bundle) -> str:
    """The manifest's SHA-256, and so of every digest and floor in it."""
    return bundle.digest or sha256((bundle.path / MANIFEST).read_bytes())


def changes(tuned: Tuned) -> dict[str, tuple[str | None, str | None]]:
    """Interpreters that came, went or changed since: each with its version then and now."""
    from unet_edge.runtime.interpreters import installed_versions

    now = installed_versions()
    names = [package for packages in PACKAGES.values() for package in packages]
    pairs = {name: (tuned.installed.get(name), now.get(name)) for name in names}
    return {name: (then, here) for name, (then, here) in pairs.items() if then != here}


def describe(bundle: Bundle) -> str:
    """One line for people: what opening the bundle here uses, and whether to measure again."""
    again = f"'unet-edge tune {bundle.path}'"
    found = remembered(bundle)
    if found is None:
        return f"not tuned on this machine: {again} finds out what is fastest here"
    if found.tuned is None or found.stale:
        return f"{found.place} is not used: {found.stale}; {again} measures here"
    since = changes(found.tuned)
    said = "; ".join(_change(name, *versions) for name, versions in since.items())
    if found.tuned.backend in since:
        return f"{found.place} is not used: since then {said}; {again} measures again"
    line = f"tuned on {found.tuned.date[:10]}: {found.tuned}"
    return f"{line}; since then {said}, which {again} would measure" if since else line


def _change(name: str, then: str | None, now: str | None) -> str:
    if now is None:
        return f"{name} {then} was removed"
    return f"{name} {now} was installed" + (f" over {then}" if then else "")


def _places(bundle: Bundle) -> Iterator[Path]:
    """Where a choice may lie. The user's settings come first: they are only written when needed."""
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")  # noqa: PTH111
    if os.path.isabs(home):  # noqa: PTH117  # a "~" that stays has no home
        # Named by the folder: two copies of a bundle may be tuned differently.
        name = sha256(str(bundle.path.absolute()).encode())[:16]
        yield Path(home) / "unet-edge" / f"tuning-{name}.json"
    yield bundle.path / TUNING


def _judged(bundle: Bundle, place: Path, text: bytes) -> Remembered:
    try:
        tuned = _parse(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Remembered(place, None, "it is damaged, or of a newer unet-edge")
    stale = None
    kept = {entry.name: entry.format for entry in bundle.promising()}
    if tuned.machine != this_machine():
        stale = f"it was measured on {_spell(tuned.machine)}, this is {_spell(this_machine())}"
    elif tuned.bundle != bundle_key(bundle):
        stale = "the bundle was exported again since"
    elif tuned.file not in kept or tuned.backend not in PACKAGES[kept[tuned.file]]:
        stale = f"{tuned.file} by {tuned.backend} is none of this bundle's choices"
    return Remembered(place, tuned, stale)


def _spell(machine: dict[str, Any]) -> str:
    model = machine.get("model") or machine.get("architecture")
    kind = f" ({machine['int8']})" if "int8" in machine else ""
    return f"{model}{kind} with {machine.get('processors')} processors"


def _parse(data: Any) -> Tuned:
    """Raise ValueError, KeyError, TypeError or AttributeError for anything but a choice."""
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
