"""Semantic segmentation for small computers: train, export, verify, run, benchmark.

    from unet_edge import Segmenter
    mask = Segmenter.open("bundle").segment("photo.jpg")
    mask.save("photo.mask.png")

Importing this package needs NumPy and Pillow only. Other parts load when they are first used:
interpreters when a model is opened, Keras and TensorFlow for training and export.
"""

TYPE_CHECKING = False  # importing typing takes 5 ms; Ctrl-C in that time prints a traceback

if TYPE_CHECKING:
    from unet_edge.bundle.bundle import Bundle
    from unet_edge.errors import UnetEdgeError
    from unet_edge.evaluation.verification import Verification, verify
    from unet_edge.images.placement import Placement
    from unet_edge.masks.mask import Mask
    from unet_edge.runtime.segmenter import Segmenter
    from unet_edge.runtime.tile_settings import Tiles
    from unet_edge.spec import ModelSpec, Normalisation

__version__ = "0.2.0"

__all__ = [
    "Bundle",
    "Mask",
    "ModelSpec",
    "Normalisation",
    "Placement",
    "Segmenter",
    "Tiles",
    "UnetEdgeError",
    "Verification",
    "verify",
]

_HOMES = {
    "Bundle": "bundle.bundle",
    "Mask": "masks.mask",
    "ModelSpec": "spec",
    "Normalisation": "spec",
    "Placement": "images.placement",
    "Segmenter": "runtime.segmenter",
    "Tiles": "runtime.tile_settings",
    "UnetEdgeError": "errors",
    "Verification": "evaluation.verification",
    "verify": "evaluation.verification",
}

if not TYPE_CHECKING:  # a type checker that sees __getattr__ accepts any name

    def __getattr__(name):  # noqa: ANN001, ANN202
        """Load the module of a public name when the name is first used (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value

    def __dir__():  # noqa: ANN202
        return sorted({*globals(), *_HOMES})
