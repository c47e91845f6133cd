"""Open and run bundles whose manifest or contract was mutated while all digests stay right.

    python -m benchmarks.mutants runs/cats/bundle --count 10000

Each mutant must be refused with a one-line error of this package, or give the original bundle's
masks. Other masks are allowed only where `verify` fails. A mutant changes, at random:
- values of the manifest;
- values of the contract inside the model file that is opened;
- the same value in the manifest and in that contract;
- bits of the manifest's text.

Digests are computed again after each change. The table shows how often each result occurred, the
longest time until a refusal, and the peak memory.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from unet_edge import Segmenter
from unet_edge.bundle.bundle import Bundle
from unet_edge.bundle.digest import DIGEST, digest_line
from unet_edge.bundle.manifest import MANIFEST
from unet_edge.errors import UnetEdgeError
from unet_edge.evaluation.verification import golden_references, verify
from unet_edge.images.decoding import decode
from unet_edge.model_files.embedded_contract import _trailer, format_of
from unet_edge.system.files import sha256
from unet_edge.system.timing import peak_memory

VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 3, 0.5, 1.5, 96, 255, 256, 10**9, 10**30, 1e308, -1e-308,
    "", "x", "x\ny", "../x", "\x1b[2J", "\ud800", "a" * 10_000, [], {}, [None], [[]], {"": 0},
    "tflite", "onnx", "float32", "int8", "labels", "logits", "scaled", "box", "stretch",
)  # fmt: skip


def paths_in(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path to each value of JSON data: its keys and indices."""
    members: Any = ()
    if isinstance(data, dict | list):
        members = data.items() if isinstance(data, dict) else enumerate(data)
    return [path, *(p for key, value in members for p in paths_in(value, (*path, key)))]


def value_at(data: Any, path: tuple[Any, ...]) -> Any:
    """The value at a path."""
    for key in path:
        data = data[key]
    return data


def change(data: Any, rng: random.Random) -> str:
    """Change one value of JSON data in place, and describe the change."""
    *parents, last = path = rng.choice(paths_in(data)[1:])
    parent, old = value_at(data, tuple(parents)), value_at(data, path)
    match rng.randrange(6):
        case 0:
            del parent[last]
            return f"{path} removed"
        case 1 if isinstance(parent, dict):
            parent[rng.choice(("extra", "sha256", "", "a\nb"))] = old
            return f"a copy of {path} added"
        case 2 if isinstance(old, bool | int | float):
            new: Any = rng.choice((old + 1, old - 1, old * 2, old / 2, -old, old + 0.01, 1 - old))
        case 3 if isinstance(old, str) and old:
            spot = rng.randrange(len(old))
            new = old[:spot] + chr(ord(old[spot]) ^ 1 << rng.randrange(7)) + old[spot + 1 :]
        case 4:
            new = copy.deepcopy(value_at(data, rng.choice(paths_in(data)[1:])))
        case _:
            new = rng.choice(VALUES)
    parent[last] = new
    return f"{path} = {new!r:.60}"


class Mutants:
    """Makes mutants of a bundle in another folder, one at a time, and judges them."""

    def __init__(self, bundle: Path, folder: Path) -> None:
        """Copy the bundle to `folder`, and keep its masks for comparison."""
        self.folder = folder
        shutil.copytree(bundle, folder)
        (folder / "tuning.json").unlink(missing_ok=True)
        opened = Bundle.open(folder)
        self.manifest = json.loads((folder / MANIFEST).read_bytes())
        self.entry = opened.preferred()[0]
        self.model = (folder / self.entry.name).read_bytes()
        size = int(re.findall(rb'"payload_bytes": (\d+)', self.model)[-1])
        self.payload = self.model[:size]
        text = re.findall(rb'\{\n "format".*\n\}', self.model, re.DOTALL)[-1]
        self.contract = json.loads(text)
        # The same picture at another size shows whether placement on the grid has changed.
        golden = decode(folder / opened.golden[0].picture)
        self.photos = [golden, golden.resize((golden.width * 3 // 2, golden.height * 2 // 3))]
        self.masks = self._masks()

    def _masks(self) -> list[np.ndarray[Any, Any]]:
        segmenter = Segmenter.open(self.folder, threads=1)
        return [segmenter.segment(photo).labels.copy() for photo in self.photos]

    def mutate(self, rng: random.Random) -> str:
        """Write one mutant, and describe its changes."""
        manifest, contract = copy.deepcopy(self.manifest), copy.deepcopy(self.contract)
        kind, changes = rng.choice(("manifest", "contract", "both", "bytes")), []
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            with contextlib.suppress(IndexError, KeyError, TypeError, OverflowError, ValueError):
                if kind == "manifest":
                    changes.append(change(manifest, rng))
                elif kind == "contract":
                    changes.append(change(contract, rng))
                elif kind == "both":
                    changes.append(change(contract["spec"], rng))
                    manifest["spec"] = copy.deepcopy(contract["spec"])
        model = self.model if kind in ("manifest", "bytes") else self._sealed(contract)
        if model is not self.model:
            for entry in manifest["files"]:
                if entry["name"] == self.entry.name:
                    entry |= {"sha256": sha256(model), "bytes": len(model)}
        text = json.dumps(manifest, indent=2, ensure_ascii=rng.random() < 0.5)
        raw = bytearray(text.encode(errors="surrogatepass"))
        if kind == "bytes":
            for _ in range(rng.choice((1, 1, 2, 8))):
                spot = rng.randrange(len(raw))
                raw[spot] ^= 1 << rng.randrange(8)
                changes.append(f"bit in byte {spot}")
        (self.folder / self.entry.name).write_bytes(model)
        (self.folder / MANIFEST).write_bytes(raw)
        (self.folder / DIGEST).write_bytes(digest_line(sha256(bytes(raw))))
        return f"{kind}: {'; '.join(changes)}"

    def _sealed(self, contract: dict[str, Any]) -> bytes:
        file_format = format_of(self.model, self.entry.name)
        try:
            fields = {key: contract[key] for key in contract if key != "sha256"}
            return self.payload + _trailer(self.payload, file_format, fields)
        except Exception:  # such a contract cannot be written: keep the original
            return self.payload + _trailer(self.payload, file_format, self.contract)

    def judge(self) -> str:
        """Open and run the mutant on disk. Results in capitals are failures."""
        try:
            masks = self._masks()
        except UnetEdgeError as error:
            line = str(error)
            if "\n" in line or not line.isprintable() or len(line) > 2100:
                return f"BAD MESSAGE {line!r:.300}"
            return "refused"
        except BaseException as error:
            return f"NOT OURS {type(error).__name__}: {error!s:.200}"
        if all(map(np.array_equal, masks, self.masks)):
            return "the same masks"
        if self._verified():
            return "ANOTHER MASK, verified"
        return "another mask, which verify notices"

    def _verified(self) -> bool:
        """Whether every file passes `unet-edge verify`."""
        try:
            bundle = Bundle.open(self.folder)
            return all(
                verify(
                    Segmenter.open(self.folder, file=entry.name, threads=1),
                    golden_references(bundle),
                    floor=entry.golden_floor,
                ).passed
                for entry in bundle.files
            )
        except UnetEdgeError:
            return False


def main() -> None:
    """Make mutants, judge them and print the table. Exits with 1 after a failure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    counts, longest, slowest = Counter[str](), 0.0, ""
    with tempfile.TemporaryDirectory() as folder:
        mutants = Mutants(arguments.bundle, Path(folder) / "bundle")
        before = peak_memory()
        for index in range(arguments.count):
            rng = random.Random(arguments.seed * 1_000_000 + index)
            changes = mutants.mutate(rng)
            start = time.process_time()
            result = mutants.judge()
            seconds = time.process_time() - start
            kind = re.split("[:{]", result)[0]
            counts[f"{changes.partition(':')[0]}: {kind}"] += 1
            if result[:3].isupper():
                print(f"{index} {changes}: {result}", flush=True)
            if result == "refused" and seconds > longest:
                longest, slowest = seconds, changes
    for kind, count in sorted(counts.items()):
        print(f"{count:6} {kind}")
    print(f"longest time until a refusal: {longest:.3f} s of processor time ({slowest:.200})")
    print(f"peak memory: {peak_memory() - before:.0f} MiB more than the bundle itself takes")
    sys.exit(any(kind.partition(": ")[2][:3].isupper() for kind in counts))


if __name__ == "__main__":
    main()
