"""Rewrite a model for one file format: the same scores up to rounding, from faster operators."""

from __future__ import annotations

import keras

from unet_edge.model_files.embedded_contract import Format


def for_device(model: keras.Model, file_format: Format) -> keras.Model:
    """A copy of `model` whose file of this format is fast; `model` itself if nothing is to do.

    `model` is a run's model: pixels in, logits out, layers without nested models. Both compute the
    same logits up to float32 rounding, for every size that `model` takes. The copy is for
    conversion only: its layers may be of classes that a .keras file cannot load, and several may
    stand for one of `model`. A layer that stays keeps its name and its weights' values.
    """
    return model
