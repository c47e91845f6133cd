"""Read an HDF5 file of Keras in a process of its own: `converters.foreign.hdf5_content` starts it.

The HDF5 library ends the process on some damaged files. And HDF5 can point out of the file:
external links and external or virtual data sets name other files (CVE-2026-1669 in Keras), filters
name plug-ins, and a data set can declare more than is stored. None of these is in a file that
Keras wrote, so each is refused before anything is read.
"""

from __future__ import annotations

import json
import math
import re
import sys
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
_DAMAGE = (OSError, KeyError, ValueError, TypeError, RuntimeError, OverflowError, AttributeError)

# Keras cuts long lists of names in numbered parts.
_NAMES = re.compile(r"(layer_names|weight_names)(\d*)")
_TEXTS = ("model_config", "keras_version")
_UNUSED = ("/optimizer", "/metrics", "/loss_tracker")  # and optimizer_weights


def main() -> None:
    """Answer one request: {"source": a file of HDF5, "target": the .npz file to write}."""
    request = json.load(sys.stdin)
    try:
        answer = _read(Path(request["source"]), Path(request["target"]))
    except Refusal as refusal:
        answer = {"refused": [refusal.reason, refusal.fix]}
    except _DAMAGE as error:
        answer = {"refused": [f"is damaged: HDF5 cannot read it ({error})", ""]}
    print(json.dumps(answer))  # noqa: T201


def _read(source: Path, target: Path) -> dict[str, Any]:
    """Write all weights of a file in float32; return their paths and the attributes of groups."""
    with h5py.File(source, "r") as file:
        groups, datasets = _checked_tree(file)
        attributes = {group.name: _attributes(group) for group in groups}
        used = [dataset for dataset in datasets if not dataset.name.startswith(_UNUSED)]
        np.savez(target, *(_numbers(dataset) for dataset in used))
        return {"attributes": attributes, "arrays": [dataset.name for dataset in used]}


def _checked_tree(file: h5py.File) -> tuple[list[h5py.Group], list[h5py.Dataset]]:
    """All groups and data sets. Raises Refusal for what Keras does not write."""
    waiting: list[h5py.Group] = [file]
    groups: list[h5py.Group] = []
    datasets: list[h5py.Dataset] = []
    seen = {_address(file)}
    objects = total = 0
    while waiting:
        group = waiting.pop()
        groups.append(group)
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
                waiting.append(child)
            elif isinstance(child, h5py.Dataset):
                datasets.append(child)
                total += _checked_bytes(child, where)
                if total > _MOST_BYTES:
                    raise Refusal(f"is not read: it declares more than {_MOST_BYTES:,} bytes")
            else:
                raise Refusal(f"is not read: {where!r} is neither a group nor a data set")
    return groups, datasets


def _address(item: h5py.HLObject) -> int:
    address: int = h5py.h5o.get_info(item.id).addr
    return address


def _checked_bytes(dataset: h5py.Dataset, where: str) -> int:
    """The declared size of a data set of numbers that lies in the file, in float32 or larger."""
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
    return max(declared, 4 * math.prod(dataset.shape))  # a byte becomes a float32


def _numbers(dataset: h5py.Dataset) -> NDArray[np.float32]:
    """The values of a data set of finite numbers. Raises Refusal."""
    where, kind = dataset.name, dataset.dtype.kind
    if kind == "V" and dataset.dtype.itemsize == 2 and not dataset.dtype.names:  # bfloat16
        words = np.asarray(dataset).view(np.uint16).astype(np.uint32)
        values = (words << 16).view(np.float32)
    elif kind in "fiub":
        values = np.asarray(dataset).astype(np.float32)
    else:
        raise Refusal(f"is damaged: {where!r} does not hold numbers")
    if not np.isfinite(values).all():
        raise Refusal(
            f"has weights that are not finite numbers ({where!r})",
            "take a checkpoint from before the training diverged",
        )
    return values


def _attributes(group: h5py.Group) -> dict[str, Any]:
    """The texts and the lists of names of a group."""
    found: dict[str, Any] = {}
    parts: dict[str, list[tuple[int, list[str]]]] = {}
    for key in group.attrs:
        if key in _TEXTS:
            found[key] = _text(group.attrs[key])
        elif match := _NAMES.fullmatch(key):
            names = [_text(name) for name in np.ravel(group.attrs[key])]
            parts.setdefault(match[1], []).append((int(match[2] or 0), names))
    for key, lists in parts.items():
        found[key] = [name for _, names in sorted(lists) for name in names]
    return found


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


if __name__ == "__main__":
    main()
