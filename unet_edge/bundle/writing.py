"""Writing a bundle, complete or not at all; only a bundle is ever replaced."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from unet_edge.bundle.bundle import MOST_MANIFEST, Bundle, parse_manifest
from unet_edge.bundle.digest import DIGEST, digest_line
from unet_edge.bundle.manifest import KIND, MANIFEST, parse_json
from unet_edge.errors import BundleError
from unet_edge.system.atomic_folders import folder_written_atomically
from unet_edge.system.files import read_regular, sha256


def write_bundle(
    bundle: Bundle,
    models: dict[str, bytes],
    golden: Sequence[tuple[bytes, bytes]],
    card: Sequence[bytes] = (),
) -> Bundle:
    """Write `bundle` to its path; returns it with the manifest's digest.

    `models` holds the bytes of each model file by name, `golden` those of pictures and masks in the
    order of `bundle.golden`, and `card` those of its files in the order of `bundle.card`. An
    existing bundle is replaced. A write that is killed leaves the old bundle or none.

    Raises BundleError for another folder with files in it, and for a manifest that cannot be read
    back.
    """
    target = bundle.path
    require_replaceable_bundle(target)
    text = (json.dumps(bundle.to_dict(), indent=2, ensure_ascii=False) + "\n").encode()
    if len(text) > MOST_MANIFEST:
        raise BundleError(
            f"{MANIFEST} would have {len(text):,} bytes",
            expected=f"there may be at most {MOST_MANIFEST:,}",
            fix="export with fewer golden pictures",
        )
    parse_manifest(target, parse_json(text))
    digest = sha256(text)
    with folder_written_atomically(target) as folder:
        for name, data in models.items():
            (folder / name).write_bytes(data)
        others = [(entry.name, data) for entry, data in zip(bundle.card, card, strict=True)]
        for entry, contents in zip(bundle.golden, golden, strict=True):
            others += zip((entry.picture, entry.mask), contents, strict=True)
        for name, data in others:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        (folder / MANIFEST).write_bytes(text)
        (folder / DIGEST).write_bytes(digest_line(digest))
    return dataclasses.replace(bundle, digest=digest)


def require_replaceable_bundle(target: Path) -> None:
    """Raise BundleError when `target` is something other than a bundle or an empty folder."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    try:
        manifest = json.loads(read_regular(target / MANIFEST, MOST_MANIFEST))
    except (OSError, ValueError, RecursionError):
        manifest = None
    # Other software writes a bundle.json too, and replacing its folder would delete it.
    if not isinstance(manifest, dict) or manifest.get("kind") != KIND:
        raise BundleError(
            f"{target} exists and is not a bundle",
            fix="choose another --output, or remove it",
        )
