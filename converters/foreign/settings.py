"""The choices of an import; this module imports neither TensorFlow nor Keras."""

from __future__ import annotations

from typing import Literal

Architecture = Literal["tutorial-mobilenet-unet", "tutorial-unet-mini"]
"""The networks that can be built for a file of weights alone: those of the tutorial."""
