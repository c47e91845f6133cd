"""HDF5 files of Keras, looked through before anything is taken from them.

HDF5 can point out of the file: external links and external or virtual data sets name other files
(CVE-2026-1669 in Keras), filters name plug-ins, and a data set can declare more than is stored.
None of these is in a file that Keras wrote.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from converters.foreign.refusal import Refusal

# HDF5's own filters: deflate, shuffle, Fletcher-32 (H5Zpublic.h). Others are plug-ins.
_OWN_FILTERS = {1, 2, 3}
_MOST_OBJECTS = 100_000
# Weights of three times the size of VGG-16 with both moments of Adam.
_MOST_BYTES = 4 * 2**30
_MOST_EXPANSION = 1000  # the most that deflate packs

# What h5py raises for a damaged file.
DAMAGE = (OSError, KeyError, ValueError, TypeError, RuntimeError, OverflowError, AttributeError)


@contextlib.contextmanager
def open_hdf5(source: Path | bytes) -> Iterator[h5py.File]:
    """Open a file, or the bytes of one, and check all that it holds.

    Raises Refusal for damage, for links, for data outside the file, and for absurd sizes.
    """
    try:
        file = h5py.File(io.BytesIO(source) if isinstance(source, bytes) else source, "r")
    except DAMAGE as error:
        raise Refusal(f"is damaged: HDF5 cannot open it ({error})") from error
    with file:
        try:
            _check_tree(file)
        except DAMAGE as error:
            raise Refusal(f"is damaged: HDF5 cannot read it ({error})") from error
        yield file


def _check_tree(file: h5py.File) -> None:
    """Walk all groups without following a link. Raises Refusal, or what h5py raises."""
    groups: list[h5py.Group] = [file]
    seen = {_address(file)}
    objects = total = 0
    while groups:
        group = groups.pop()
        for name in group:
            objects += 1
            where = f"{group.name.rstrip('/')}/{name}"
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise Refusal(f"is not read: {where!r} is a link to elsewhere")
            child = group[name]
            if _address(child) in seen or objects > _MOST_OBJECTS:
                raise Refusal(
                    f"is not read: {where!r} stands in it more than once, or it has "
                    f"more than {_MOST_OBJECTS:,} objects"
                )
            seen.add(_address(child))
            if isinstance(child, h5py.Group):
                groups.append(child)
            elif isinstance(child, h5py.Dataset):
                total += _checked_bytes(child, where)
                if total > _MOST_BYTES:
                    raise Refusal(f"is not read: it declares more than {_MOST_BYTES:,} bytes")
            else:
                raise Refusal(f"is not read: {where!r} is neither a group nor a data set")


def _address(item: h5py.HLObject) -> int:
    address: int = h5py.h5o.get_info(item.id).addr
    return address


def _checked_bytes(dataset: h5py.Dataset, where: str) -> int:
    """The declared size of a data set of numbers that lies in the file."""
    if dataset.external or dataset.is_virtual:
        raise Refusal(f"is not read: the data of {where!r} are in another file")
    plan = dataset.id.get_create_plist()
    if any(plan.get_filter(i)[0] not in _OWN_FILTERS for i in range(plan.get_nfilters())):
        raise Refusal(f"is not read: {where!r} needs a filter plug-in of HDF5")
    if dataset.shape is None or len(dataset.shape) > 8:
        raise Refusal(f"is damaged: {where!r} has no shape of a weight")
    declared = math.prod(dataset.shape) * int(dataset.dtype.itemsize)
    if declared > _MOST_EXPANSION * max(dataset.id.get_storage_size(), 1000):
        raise Refusal(f"is not read: {where!r} declares {declared:,} bytes that it does not hold")
    return declared


def numbers(dataset: h5py.Dataset) -> NDArray[np.float32]:
    """The values of a data set of numbers, finite. Raises Refusal."""
    where = dataset.name
    kind = dataset.dtype.kind
    try:
        if kind == "V" and dataset.dtype.itemsize == 2 and not dataset.dtype.names:  # bfloat16
            words = np.asarray(dataset).view(np.uint16).astype(np.uint32)
            values = (words << 16).view(np.float32)
        elif kind in "fiub":
            values = np.asarray(dataset).astype(np.float32)
        else:
            raise Refusal(f"is damaged: {where!r} does not hold numbers")
    except DAMAGE as error:
        raise Refusal(f"is damaged: {where!r} cannot be read ({error})") from error
    if not np.isfinite(values).all():
        raise Refusal(
            f"has weights that are not finite numbers ({where!r})",
            "take a checkpoint from before the training diverged",
        )
    return values


def strings(group: h5py.Group, name: str) -> list[str] | None:
    """An attribute of names, of which Keras cuts long ones in parts; None without it.

    Raises Refusal when it is malformed.
    """
    try:
        if name in group.attrs:
            return _texts(group.attrs[name])
        found: list[str] | None = None
        part = 0
        while f"{name}{part}" in group.attrs:
            found = [*(found or []), *_texts(group.attrs[f"{name}{part}"])]
            part += 1
        return found
    except DAMAGE as error:
        raise Refusal(f"is damaged: the names {name!r} of {group.name!r} ({error})") from error


def text(group: h5py.Group, name: str) -> str | None:
    """An attribute of text; None without it. Raises Refusal when it is malformed."""
    try:
        value: Any = group.attrs.get(name)
        if isinstance(value, bytes):
            return value.decode()
    except DAMAGE as error:
        raise Refusal(f"is damaged: its {name!r} cannot be read ({error})") from error
    if value is None or isinstance(value, str):
        return value
    raise Refusal(f"is damaged: its {name!r} is not text")


def _texts(values: Any) -> list[str]:
    return [item.decode() if isinstance(item, bytes) else str(item) for item in list(values)]
