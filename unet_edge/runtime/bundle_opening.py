"""Which file of a bundle is opened: the named one, the tuned choice, or the first that runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unet_edge.bundle.bundle import Bundle
from unet_edge.bundle.bundle_file import BundleFile
from unet_edge.bundle.manifest import MANIFEST
from unet_edge.errors import BackendError, BundleError
from unet_edge.model_files.contract_check import checked_contract
from unet_edge.runtime.backends.backend import Backend
from unet_edge.runtime.interpreter_choice import open_backend, require_package
from unet_edge.runtime.packages import Package, format_read_by
from unet_edge.runtime.threads import most_threads
from unet_edge.runtime.tuning_cache import load_tuning

Opened = tuple[BundleFile, Backend]


def open_from_bundle(
    bundle: Bundle, file: str | None, threads: int | None, backend: Package | None
) -> Opened:
    """Open a bundle's file: the named one, the tuned choice, or the first file that runs.

    Raises BundleError, ModelFileError, ConfigError or BackendError.
    """
    if file is None and backend is None and (tuned := _open_tuned(bundle, threads)):
        return tuned
    if file:
        return _open_file(bundle, bundle.file(file), threads, backend)
    errors: list[BackendError] = []
    for entry in readable(bundle.path, bundle.preferred(), backend):
        try:
            return _open_file(bundle, entry, threads, backend)
        except BackendError as error:
            errors.append(error)
    # Several files may fail for one reason.
    problems = dict.fromkeys(error.problem for error in errors)
    fixes = dict.fromkeys(error.fix for error in errors if error.fix)
    raise BackendError("; ".join(problems), fix=", or ".join(fixes))


def float32_file(bundle: Bundle, fix: str) -> str:
    """The name of a bundle's first float32 file, which is the Keras model without rounding.

    Raises BundleError with `fix` when there is none.
    """
    for entry in bundle.files:
        if entry.precision == "float32":
            return entry.name
    raise BundleError(f"{bundle.path} has no float32 file to compare with", fix=fix)


def readable(
    path: Path, files: Sequence[BundleFile], backend: Package | None
) -> Sequence[BundleFile]:
    """The files of a bundle at `path` that `backend` reads, all of them for None.

    Raises BackendError when `backend` reads none, ConfigError when it is unknown.
    """
    if backend is None:
        return files
    require_package(backend)
    file_format = format_read_by(backend)
    if matching := [entry for entry in files if entry.format == file_format]:
        return matching
    raise BackendError(
        f"{backend} reads .{file_format} files, and {path} has none to run",
        fix=f"run: unet-edge export RUN --formats {file_format}-float32",
    )


def _open_tuned(bundle: Bundle, threads: int | None) -> Opened | None:
    """Open the tuned choice of this machine, None where there is none or it no longer works."""
    stored = load_tuning(bundle)
    if stored is None or stored.tuned is None or stored.stale:
        return None
    tuned = stored.tuned
    count = min(tuned.threads, most_threads()) if threads is None else threads
    try:
        opened = _open_file(bundle, bundle.file(tuned.file), count, tuned.backend)
    except BackendError:  # the interpreter was removed; the doctor reports it
        return None
    return opened if opened[1].name == tuned.interpreter else None


def _open_file(
    bundle: Bundle, entry: BundleFile, threads: int | None, backend: Package | None
) -> Opened:
    model = bundle.read(entry)
    contract = checked_contract(model, str(bundle.path / entry.name))
    if contract.spec != bundle.spec:
        raise BundleError(
            f"{bundle.path / MANIFEST} contradicts the contract inside {entry.name}",
            fix="copy the bundle again",
        )
    if (contract.format, contract.precision) != (entry.format, entry.precision):
        raise BundleError(
            f"{bundle.path / MANIFEST} lists {entry.name} as {entry.precision} {entry.format}, "
            f"but it is {contract.precision} {contract.format}",
            fix="copy the bundle again",
        )
    return entry, open_backend(model, entry.format, threads, backend)
