"""Sealing changed manifests again, as if the bundle had been exported with them."""

import contextlib
import json
from pathlib import Path
from typing import Any

from unet_edge.bundle.bundle import Bundle
from unet_edge.bundle.bundle_file import BundleFile
from unet_edge.bundle.digest import DIGEST, digest_line
from unet_edge.bundle.manifest import MANIFEST
from unet_edge.bundle.search_record import SearchRecord
from unet_edge.system.files import sha256


def seal_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write a manifest with its digest, and with the order of preference that its figures give."""
    if "preferred" in manifest:
        with contextlib.suppress(Exception):  # a malformed manifest prefers nothing
            manifest = manifest | {"preferred": _preferred(manifest)}
    text = json.dumps(manifest, indent=2, ensure_ascii=False).encode()
    (folder / MANIFEST).write_bytes(text)
    (folder / DIGEST).write_bytes(digest_line(sha256(text)))


def _preferred(manifest: dict[str, Any]) -> list[str]:
    files, unused = tuple(map(BundleFile.from_dict, manifest["files"])), None
    bundle = Bundle(  # type: ignore[arg-type]
        path=Path(),
        spec=unused,
        files=files,
        golden=(),
        reference=unused,
        tools={},
        data=unused,
        processor=unused,
        search=SearchRecord.from_dict(manifest["search"]) if manifest.get("search") else None,
    )
    return bundle._preferred_names()
