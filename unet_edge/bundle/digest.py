"""bundle.sha256: the digest that the manifest is checked against."""

from __future__ import annotations

from pathlib import Path

from unet_edge.bundle.manifest import MANIFEST, unreadable
from unet_edge.errors import BundleError
from unet_edge.system.files import read_regular

DIGEST = "bundle.sha256"

_MOST_DIGEST = 1000  # bytes


def digest_line(digest: str) -> bytes:
    """The contents of bundle.sha256, in the format of sha256sum."""
    return f"{digest}  {MANIFEST}\n".encode()


def require_digest(path: Path, digest: str) -> None:
    """Raise BundleError unless bundle.sha256 in the folder `path` holds `digest`."""
    try:
        written = read_regular(path / DIGEST, _MOST_DIGEST)
    except FileNotFoundError:
        raise BundleError(
            f"{path} is incomplete: {DIGEST} is missing, the digest of {MANIFEST}",
            fix="copy the complete folder again",
        ) from None
    except OSError as error:
        raise unreadable(path / DIGEST, error) from error
    if written != digest_line(digest):
        raise BundleError(
            f"{path / MANIFEST} is damaged: its SHA-256 is not the one in {DIGEST}",
            fix="copy the bundle again",
        )
