"""Pictures with masks on disk: layouts, splits and how a mask file's values become labels.

Read by training, calibration, evaluation and the benchmark alike; NumPy and Pillow only, so the
device can evaluate a file on labelled pictures too.
"""

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
