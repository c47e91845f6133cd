"""Why a model file is not read; `read_foreign` makes the user's error of it."""

from __future__ import annotations

REBUILD = (
    "rebuild the model from Keras' own layers with keras.Model(inputs, outputs), copy the weights "
    "into it with set_weights, and save that as .keras"
)
"""The fix for a model that holds what only its own program can run."""

OPEN = (
    "rebuild the model from Keras' own layers, with the function `plain` of docs/own-models.md, or "
    "with keras.Model(inputs, outputs) and set_weights, and save that as .keras"
)
"""The fix for Lambdas and for classes of other code, most of which are made of Keras' own parts."""


class Refusal(Exception):
    """A file that is not read: `reason` completes the file's name, `fix` says what to do."""

    def __init__(self, reason: str, fix: str = "") -> None:
        super().__init__(reason)
        self.reason, self.fix = reason, fix
