"""Pictures with masks on disk: layouts, splits and how a mask file's values become labels.

Training, calibration, evaluation and the benchmarks read data through it. It needs NumPy and
Pillow only, so a device can evaluate a file on labelled pictures too.

The public names load at first use: the command line needs only `dataset.settings` for its options.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unet_edge.dataset.check import check_dataset
    from unet_edge.dataset.find import find_dataset
    from unet_edge.dataset.rules import MaskRule
    from unet_edge.dataset.sample import Dataset, Progress, Sample
    from unet_edge.images.listing import list_pictures

__all__ = [
    "Dataset",
    "MaskRule",
    "Progress",
    "Sample",
    "check_dataset",
    "find_dataset",
    "list_pictures",
]

_HOMES = {
    "Dataset": "dataset.sample",
    "MaskRule": "dataset.rules",
    "Progress": "dataset.sample",
    "Sample": "dataset.sample",
    "check_dataset": "dataset.check",
    "find_dataset": "dataset.find",
    "list_pictures": "images.listing",
}

if not TYPE_CHECKING:  # a checker that saw __getattr__ would take any name for a public one

    def __getattr__(name):  # noqa: ANN001, ANN202  # a type for a checker that never sees it
        """Load a public name's module when the name is first asked for (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f"unet_edge.{_HOMES[name]}"), name)
        globals()[name] = value
        return value

    def __dir__():  # noqa: ANN202  # as above
        return sorted({*globals(), *_HOMES})
