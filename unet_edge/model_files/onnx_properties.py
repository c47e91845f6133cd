"""What other programs read of an .onnx file: flat entries of its `metadata_props`.

Netron shows them, onnxruntime gives them as `get_modelmeta().custom_metadata_map`. The keys and
spellings are those that Ultralytics writes and its readers and many after them take:
- https://github.com/ultralytics/ultralytics/blob/main/ultralytics/nn/backends/base.py,
  `apply_metadata`: `stride`, `batch`, `channels` by int(), `names` and `imgsz` by
  ast.literal_eval(), `task` as it is ("semantic" is one class for each pixel).
- https://docs.rs/crate/ultralytics-inference/latest/source/src/metadata.rs: the same keys.

They describe. They do not make a program feed a file rightly that scales pixels itself or wants
channels first: ours take uint8 pixels, (1, H, W, 3).
"""

from __future__ import annotations

import json
import math
from typing import Any


def flat_properties(spec: dict[str, Any]) -> dict[str, str]:
    """The entries of a contract, `spec` as JSON values; the same contract gives the same text.

    Raises KeyError, TypeError or ValueError for what is no contract.
    """
    height, width, classes = spec["height"], spec["width"], spec["classes"]
    # Not repr(), which quotes by the Unicode tables of each Python version. A JSON string in one
    # line is a Python literal too.
    names = ", ".join(
        f"{index}: {json.dumps(name, ensure_ascii=False)}" for index, name in enumerate(classes)
    )
    return {
        "description": f"{spec['name']}: semantic segmentation by unet-edge",
        "task": "semantic",
        "names": f"{{{names}}}",
        "imgsz": f"[{height:d}, {width:d}]",
        # Sizes are rounded up to a multiple of it, 32 where it is missing. Ours are fixed.
        "stride": f"{math.gcd(height, width, 32):d}",
        "batch": "1",
        "channels": "3",
    }
