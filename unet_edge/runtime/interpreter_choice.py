"""Which file of a bundle is opened, and by which interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unet_edge.bundle.bundle import Bundle
from unet_edge.bundle.bundle_file import BundleFile
from unet_edge.bundle.manifest import MANIFEST
from unet_edge.errors import BackendError, BundleError
from unet_edge.model_files.contract_check import checked_contract
from unet_edge.runtime.backends.backend import Backend
from unet_edge.runtime.backends.opening import open_backend, require_package
from unet_edge.runtime.packages import Package, format_read_by
from unet_edge.runtime.threads import most_threads
from unet_edge.runtime.tuning_cache import remembered

Opened = tuple[BundleFile, Backend]


def open_from_bundle(
    bundle: Bundle, file: str | None, threads: int | None, backend: Package | None
) -> Opened:
    """Open a bundle's file as `Segmenter.open` says: named, as tuned here, or the first that runs.

    Raises BundleError, ModelFileError, ConfigError or BackendError.
    """
    if file is None and backend is None and (chosen := _as_tuned(bundle, threads)):
        return chosen
    failures: list[str] = []
    for entry in (
        [bundle.file(file)] if file else readable(bundle.path, bundle.preferred(), backend)
    ):
        try:
            return _opened(bundle, entry, threads, backend)
        except BackendError as error:
            if str(error) not in failures:
                failures.append(str(error))
    raise BackendError("; ".join(failures))


def float32_file(bundle: Bundle, remedy: str) -> str:
    """The name of a bundle's file that is the Keras model without rounding.

    Raises BundleError, with what to do instead, where there is none.
    """
    for entry in bundle.files:
        if entry.precision == "float32":
            return entry.name
    raise BundleError(
        f"{bundle.path} has no float32 file to compare with",
        fix=remedy,
    )


def readable(
    path: Path, files: Sequence[BundleFile], backend: Package | None
) -> Sequence[BundleFile]:
    """Those of a bundle's files that `backend` reads, all for None; `path` is for the error.

    Raises BackendError when there is none, ConfigError for a `backend` that is none.
    """
    if backend is None:
        return files
    require_package(backend)
    file_format = format_read_by(backend)
    if found := [entry for entry in files if entry.format == file_format]:
        return found
    raise BackendError(
        f"{backend} reads .{file_format} files, and {path} holds none to run",
        fix=f"fix with: unet-edge export RUN --formats {file_format}-float32",
    )


def _as_tuned(bundle: Bundle, threads: int | None) -> Opened | None:
    """As tuned on this machine; None where it was not, or what was chosen is no longer there."""
    found = remembered(bundle)
    if found is None or found.tuned is None or found.stale:
        return None
    tuned = found.tuned
    count = min(tuned.threads, most_threads()) if threads is None else threads
    try:
        opened = _opened(bundle, bundle.file(tuned.file), count, tuned.backend)
    except BackendError:  # it was removed since: the doctor says so, a picture need not wait
        return None
    return opened if opened[1].name == tuned.interpreter else None


def _opened(
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
            f"{bundle.path / MANIFEST} lists {entry.name} as {entry.precision} "
            f"{entry.format}, and it is {contract.precision} {contract.format}",
            fix="copy the bundle again",
        )
    return entry, open_backend(model, entry.format, threads, backend)
