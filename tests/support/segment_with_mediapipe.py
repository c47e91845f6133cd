"""Run a .tflite file in MediaPipe's ImageSegmenter: MODEL PICTURES.npz RESULT.npz.

This is a program because MediaPipe is installed in its own virtual environment, with NumPy but
without TensorFlow and this package.
"""

import json
import sys

import mediapipe as mp
import numpy as np
from mediapipe.tasks.python import BaseOptions
from mediapipe.tasks.python.vision import ImageSegmenter, ImageSegmenterOptions


def main(model, pictures, result):
    options = ImageSegmenterOptions(BaseOptions(model_asset_path=model), output_category_mask=True)
    found = {}
    with ImageSegmenter.create_from_options(options) as segmenter, np.load(pictures) as arrays:
        for name, pixels in arrays.items():
            image = mp.Image(mp.ImageFormat.SRGB, np.ascontiguousarray(pixels))
            masks = segmenter.segment(image)
            size = pixels.shape[:2]
            # Copies, since a view does not keep the memory of its mask.
            found[f"{name} labels"] = masks.category_mask.numpy_view().reshape(size).copy()
            found[f"{name} confidence"] = np.stack(
                [mask.numpy_view().reshape(size) for mask in masks.confidence_masks], axis=-1
            )
        found["classes"] = json.dumps(segmenter.labels)
    np.savez(result, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
