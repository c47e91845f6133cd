"""BundleFile: one exported file of a bundle, with its measured agreement and its floor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unet_edge.model_files.embedded_contract import Format, Precision

#: Least share of pixels that must equal the Keras reference's, by format and precision. Float32
#: may flip exact near-ties (summation order differs); float16 rounds weights to 11 bits; those of
#: the integers are what a well-trained model reaches with post-training quantisation. A search
#: sets them to its budget.
FLOORS: dict[tuple[Format, Precision], float] = {
    ("tflite", "float32"): 0.99999,
    ("tflite", "float16"): 0.999,
    ("tflite", "int8"): 0.995,
    ("tflite", "int16x8"): 0.995,
    ("tflite", "dynamic"): 0.99,
    ("onnx", "float32"): 0.99999,
    ("onnx", "float16"): 0.999,
    ("onnx", "int8"): 0.99,
}

# What a device would rather run: the smallest first, and TFLite before ONNX because LiteRT is
# the lighter install.
PREFERENCE: tuple[tuple[Format, Precision], ...] = (
    ("tflite", "int8"),
    ("tflite", "float32"),
    ("tflite", "float16"),
    ("onnx", "int8"),
    ("onnx", "float32"),
    ("onnx", "float16"),
    # XNNPACK has no kernels for the depthwise convolutions of the first, and none for the second.
    ("tflite", "dynamic"),
    ("tflite", "int16x8"),
)


@dataclass(frozen=True)
class BundleFile:
    """One exported file, with what was measured on the workstation over `pictures` pictures.

    `agreement` is the share of pixels (0..1) equal to the Keras reference's, `worst` the same
    for the worst picture, `mask_miou` the mIoU of its masks against the reference's masks, and
    `label_miou` against the true labels where there were any. `floor` is the least agreement.
    `label_iou` has the IoU of each class, None for one that occurs nowhere. `golden_agreement` is
    the agreement on the golden pictures, None without any. `float_layers` are the Keras layers of
    an int8 file that compute in float32. `measured_by` is the interpreter that all of this was
    measured with.
    """

    name: str
    format: Format
    precision: Precision
    sha256: str
    bytes: int
    floor: float
    agreement: float
    worst: float
    mask_miou: float
    label_miou: float | None
    pictures: int
    label_iou: tuple[float | None, ...] | None
    golden_agreement: float | None
    float_layers: tuple[str, ...]
    measured_by: str

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> BundleFile:
        """Read what `dataclasses.asdict` gave."""
        ious = data["label_iou"]
        # Tuples in place of JSON's lists: frozen values are compared and hashed.
        return cls(
            **data
            | {
                "label_iou": None if ious is None else tuple(ious),
                "float_layers": tuple(data["float_layers"]),
            }
        )

    @property
    def kept_floor(self) -> bool:
        """Whether the measured agreement reaches the floor."""
        return self.agreement >= self.floor

    @property
    def golden_floor(self) -> float:
        """Least agreement on the golden pictures, which are chosen to be hard.

        As far under the floor as the file agreed less on them than on all pictures: a machine
        that gives the workstation's masks passes exactly where the workstation did.
        """
        if self.golden_agreement is None:
            return self.floor
        return self.floor - max(0.0, self.agreement - self.golden_agreement)
