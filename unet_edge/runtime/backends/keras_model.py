"""The Keras model itself: the reference that every exported file is compared with."""

from __future__ import annotations

import threading
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from unet_edge.errors import BackendError, ModelFileError
from unet_edge.images.placement import Labels, Pixels
from unet_edge.runtime.argmax import to_labels
from unet_edge.runtime.backends.backend import Scores
from unet_edge.spec import ModelSpec
from unet_edge.system.captured_output import captured_output

if TYPE_CHECKING:
    import keras


class KerasBackend:
    """A Keras model on whichever Keras backend is configured."""

    def __init__(self, model: keras.Model) -> None:
        """Wrap a loaded model whose input is pixels (N, H, W, 3)."""
        import keras

        self._model = model
        self._lock = threading.Lock()
        self.name = f"keras {keras.__version__} ({keras.backend.backend()})"
        self.quantisation: tuple[float, int] | None = None  # scores are logits

    def require(self, spec: ModelSpec, name: str) -> None:
        """Raise ModelFileError unless the shapes of the model `name` are those of a contract."""
        shape_in, shape_out = self._model.input_shape, self._model.output_shape
        expected_in = (None, spec.height, spec.width, 3)
        expected_out = (None, spec.height, spec.width, len(spec.classes))
        if not (_fits(shape_in, expected_in) and _fits(shape_out, expected_out)):
            raise ModelFileError(
                f"{name} maps {shape_in} to {shape_out}",
                expected=f"the contract beside it says {expected_in} to {expected_out}",
                fix="use model.keras and spec.json of the same run",
            )

    def scores(self, pixels: Pixels) -> Scores:
        """Run the model; uint8 (H, W, 3) in, float32 logits (H, W, C) out."""
        with self._lock:
            result: Scores = self._model.predict_on_batch(pixels[None])[0]
        return result

    def labels(self, pixels: Pixels) -> Labels:
        """Run the model; uint8 (H, W, 3) in, uint8 (H, W) out."""
        return to_labels(self.scores(pixels))


def _fits(shape: object, expected: tuple[int | None, ...]) -> bool:
    """Whether a model's shape matches; None stands for any size."""
    return (
        isinstance(shape, tuple)
        and len(shape) == len(expected)
        and all(None in (a, b) or a == b for a, b in zip(shape, expected, strict=True))
    )


def load_keras(path: Path) -> keras.Model:
    """Load a .keras file with safe_mode on; .h5 files are refused (CVE-2025-9905).

    Raises ModelFileError when the file is missing, damaged or of another kind, BackendError when
    Keras cannot be imported.
    """
    if not path.is_file():
        raise ModelFileError(f"no such model file: {path}")
    if path.suffix != ".keras":
        raise ModelFileError(
            f"{path} is not a .keras file",
            fix="give the model.keras that 'unet-edge train' wrote",
        )
    try:
        with captured_output():  # TensorFlow prints on standard error
            import keras
    except ImportError as error:
        raise BackendError(
            f"{path} needs Keras, which cannot be imported ({error})",
            fix="run: pip install keras tensorflow",
        ) from error
    try:
        model: keras.Model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except (ValueError, TypeError, OSError, KeyError, zipfile.BadZipFile) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelFileError(f"{path} is damaged or not a Keras model: {reason}") from error
    return model
