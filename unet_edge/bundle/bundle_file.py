"""BundleFile: one exported file of a bundle, with its measured agreement and its floor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unet_edge.model_files.embedded_contract import Format, Precision

#: The least agreement of each format and precision. Float32 may flip near ties, because the order
#: of summation differs. Float16 rounds weights to 11 bits. The integers' floors are what a
#: well-trained model reaches with post-training quantisation. A search uses its budget instead.
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

# The order in which a device tries files: the smallest first, and TFLite before ONNX because LiteRT
# is the smaller install.
PREFERENCE: tuple[tuple[Format, Precision], ...] = (
    ("tflite", "int8"),
    ("tflite", "float32"),
    ("tflite", "float16"),
    ("onnx", "int8"),
    ("onnx", "float32"),
    ("onnx", "float16"),
    # XNNPACK has no kernels for depthwise convolutions of "dynamic", and none for "int16x8".
    ("tflite", "dynamic"),
    ("tflite", "int16x8"),
)


@dataclass(frozen=True)
class BundleFile:
    """An exported file, with figures that the export measured over `pictures` pictures.

    `agreement` is the share of pixels (0..1) whose class equals the Keras model's, `worst` that of
    the worst picture, and `floor` the least agreement that the file must reach. `mask_miou` is the
    mIoU against the Keras model's masks. `label_miou` is the mIoU against the true labels, None
    without any, and `label_iou` the IoU of each class, None for a class that never occurs.
    `golden_agreement` is the agreement on the golden pictures, None without any. `float_layers`
    are the Keras layers of an int8 file that compute in float32. `measured_by` is the interpreter
    that measured the figures.
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
        """Read the result of `dataclasses.asdict`."""
        ious = data["label_iou"]
        # Tuples in place of JSON's lists, so that values can be compared and hashed.
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
        """The least agreement on the golden pictures, which are chosen to be hard.

        It is below the floor by as much as the measured agreement on the golden pictures is below
        that on all pictures. So a machine that gives the workstation's masks passes exactly if the
        workstation did.
        """
        if self.golden_agreement is None:
            return self.floor
        return self.floor - max(0.0, self.agreement - self.golden_agreement)
