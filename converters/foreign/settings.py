"""The choices of an import; this module imports neither TensorFlow nor Keras."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Architecture = Literal["tutorial-mobilenet-unet", "tutorial-unet-mini"]
"""The networks that can be built for a file of weights alone: those of the tutorial."""

SIZE_MULTIPLES: Mapping[Architecture, int] = {
    "tutorial-mobilenet-unet": 16,
    "tutorial-unet-mini": 4,
}
"""What height and width must be multiples of, in px: the encoder halves them four times or two."""
