"""Entries of an .onnx file's `metadata_props` for other programs.

Netron shows them, and onnxruntime has them in `get_modelmeta().custom_metadata_map`. Keys and
spellings are those that Ultralytics writes and many readers expect:
- https://github.com/ultralytics/ultralytics/blob/main/ultralytics/nn/backends/base.py,
  `apply_metadata`: `stride`, `batch`, `channels` by int(), `names` and `imgsz` by
  ast.literal_eval(), `task` as it is ("semantic" is one class for each pixel).
- https://docs.rs/crate/ultralytics-inference/latest/source/src/metadata.rs: the same keys.

The entries only describe. A program that scales pixels itself, or puts channels first, still feeds
our files wrongly: they take uint8 pixels, (1, H, W, 3).
"""

from __future__ import annotations

import json
import math
from typing import Any


def flat_properties(spec: dict[str, Any]) -> dict[str, str]:
    """Make the entries of a contract, given as JSON values; the same contract gives the same text.

    Raises KeyError, TypeError or ValueError for values that are not a contract.
    """
    height, width, classes = spec["height"], spec["width"], spec["classes"]
    # Not repr(), whose result depends on the Unicode tables of the Python version. A JSON string in
    # one line is also a Python literal.
    names = ", ".join(
        f"{index}: {json.dumps(name, ensure_ascii=False)}" for index, name in enumerate(classes)
    )
    return {
        "description": f"{spec['name']}: semantic segmentation by unet-edge",
        "task": "semantic",
        "names": f"{{{names}}}",
        "imgsz": f"[{height:d}, {width:d}]",
        # Readers round sizes up to a multiple of it, by default 32. Our sizes are fixed.
        "stride": f"{math.gcd(height, width, 32):d}",
        "batch": "1",
        "channels": "3",
    }
