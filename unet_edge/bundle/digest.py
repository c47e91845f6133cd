"""bundle.sha256: the digest of the manifest, by which it is checked."""

from __future__ import annotations

from pathlib import Path

from unet_edge.bundle.manifest import MANIFEST, unreadable
from unet_edge.errors import BundleError
from unet_edge.system.files import read_regular

DIGEST = "bundle.sha256"


_MOST_DIGEST = 1000


def digest_line(digest: str) -> bytes:
    """What bundle.sha256 holds, in the format of sha256sum."""
    return f"{digest}  {MANIFEST}\n".encode()


def require_digest(path: Path, digest: str) -> None:
    """Raise BundleError unless the digest beside the manifest is this one."""
    try:
        written = read_regular(path / DIGEST, _MOST_DIGEST)
    except FileNotFoundError:
        raise BundleError(
            f"{path} is incomplete: {DIGEST} is missing, by which {MANIFEST} is checked",
            fix="copy the whole folder again",
        ) from None
    except OSError as error:
        raise unreadable(path / DIGEST, error) from error
    if written != digest_line(digest):
        raise BundleError(
            f"{path / MANIFEST} is damaged: its SHA-256 is not the one in {DIGEST}",
            fix="copy the bundle again",
        )
