"""The file of pretrained weights, looked at without Keras, which takes long to load."""

from __future__ import annotations

from pathlib import Path

from unet_edge.errors import WeightsError

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def require_weights_file(path: Path) -> None:
    """Raise WeightsError unless the file exists and is of HDF5, whatever its name says."""
    if not path.is_file():
        raise WeightsError(f"no such weights file: {path}")
    with path.open("rb") as file:
        start = file.read(len(_HDF5_SIGNATURE))
    if start != _HDF5_SIGNATURE:
        raise WeightsError(
            f"{path} is not an HDF5 file",
            expected="weights are a .weights.h5 file of Keras 3 or a .h5 file of "
            "keras.applications",
        )
