"""Semantic segmentation for small computers: train, export, prove, run, benchmark.

    from unet_edge import Segmenter
    mask = Segmenter.open("bundle").segment("photo.jpg")
    mask.save("photo.mask.png")

Importing this package needs NumPy and Pillow only; interpreters are loaded when a model is
opened, Keras and TensorFlow only by training and export.
"""

from unet_edge.bundle import Bundle
from unet_edge.errors import UnetEdgeError
from unet_edge.imaging import Placement
from unet_edge.mask import Mask
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.runtime.verification import Verification, verify
from unet_edge.spec import ModelSpec, Normalisation

__version__ = "0.1.0"

__all__ = [
    "Bundle",
    "Mask",
    "ModelSpec",
    "Normalisation",
    "Placement",
    "Segmenter",
    "UnetEdgeError",
    "Verification",
    "verify",
]
