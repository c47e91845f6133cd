"""NetworkBuilder: builds a run's network, new or as that of the run it starts from."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import keras

from unet_edge.errors import ConfigError, ModelFileError
from unet_edge.runtime.backends.keras_model import load_keras
from unet_edge.runtime.segmenter import KERAS_MODEL
from unet_edge.spec import ModelSpec
from unet_edge.system.counting import counted
from unet_edge.training.fused_batch_norm import fuse_batch_norm
from unet_edge.training.graph import at_size, encoder_layers, require_size
from unet_edge.training.models import NORMALISE, build, freeze_encoder
from unet_edge.training.score_layers import (
    ClassChange,
    centred,
    class_weights,
    for_classes,
    score_layers,
)
from unet_edge.training.settings.train_config import TrainConfig
from unet_edge.training.starting_run import StartingRun


class NetworkBuilder:
    """Builds the network of a run: each time the same layers, in Keras' current dtype policy.

    With a starting run, the layers are those of its model.keras, and only the scores may have
    other classes. Raises ConfigError for sizes or classes that this network cannot have.
    """

    def __init__(self, config: TrainConfig, spec: ModelSpec, start: StartingRun | None) -> None:
        self._config, self._spec, self._start = config, spec, start
        self._source: keras.Model | None = None
        self._scores: frozenset[str] = frozenset()  # of layers that change with the classes
        self._float32: frozenset[str] = frozenset()
        self._encoder: frozenset[str] | None = None  # None: by the names of our own networks
        if start is not None:
            self.change = ClassChange.between(start.spec.classes, spec.classes)
            self._read(start)

    def _read(self, start: StartingRun) -> None:
        self._source = _load(start)
        try:
            scores = frozenset(score_layers(self._source))
        except ConfigError:
            if not self.change.is_none:
                raise
            scores = frozenset(self._source.output_names)
        if not self.change.is_none:
            self._scores = scores
        # As in our own networks: scores need more than bfloat16's three digits.
        self._float32 = scores | {NORMALISE}
        if self._config.network.architecture != "imported":
            return
        for label, size in (("size", self._config.size), ("crop", self._config.crop_size)):
            require_size(self._source, size, label, str(start.folder))
        if self._config.frozen_rounds:
            sized = at_size(self._source, self._config.size)
            assert sized is not None
            self._encoder = encoder_layers(sized)
            if not self._encoder:
                raise ConfigError(
                    f"the network of {start.folder} never reduces the picture",
                    expected="an encoder ends at the lowest resolution",
                    fix="omit --freeze",
                )

    def build(self) -> keras.Model:
        """Build the model with new random weights."""
        if self._source is None:
            return build(self._config.network, len(self._spec.classes), self._spec.normalisation)

        def copied(layer: keras.layers.Layer) -> keras.layers.Layer:
            policy = "float32" if layer.name in self._float32 else keras.config.dtype_policy()
            # A layer that was frozen elsewhere is trained again.
            config: dict[str, Any] = {**layer.get_config(), "dtype": policy, "trainable": True}
            if layer.name in self._scores:
                config = for_classes(layer, config, len(self._spec.classes))
            return type(layer).from_config(config)

        model = keras.models.clone_model(self._source, clone_function=copied)
        fuse_batch_norm(model)
        return model

    def load_start(self, model: keras.Model) -> list[str]:
        """Take over the starting run's weights; return lines that say what starts anew."""
        assert self._source is not None
        assert self._start is not None
        weighted = [layer for layer in self._source.layers if layer.weights]
        scores = [layer for layer in weighted if layer.name in self._scores]
        for layer in weighted:
            target = model.get_layer(layer.name)
            if layer.name not in self._scores:
                target.set_weights(layer.get_weights())
            elif self.change.kept:
                target.set_weights(class_weights(layer, self.change))
            else:
                target.set_weights(centred(target))
        taken = counted(len(weighted) - len(scores), "layer")
        lines = [
            f"starting from {self._start.folder}: {taken} taken over"
            + (f", {', '.join(layer.name for layer in scores)} for other classes" if scores else "")
        ]
        for words, names in (
            ("classes taken over", self.change.kept),
            ("classes that start anew", self.change.new),
            ("classes left out", self.change.left_out),
        ):
            if scores and names:
                lines.append(f"{words} ({len(names)}): {', '.join(names)}")
        return lines

    def freeze(self, model: keras.Model, frozen: bool) -> None:
        """Freeze the encoder's weights and statistics, or make them trainable again."""
        if self._encoder is None:
            freeze_encoder(model, frozen)
            return
        for layer in model.layers:
            if layer.name in self._encoder - self._scores:
                layer.trainable = not frozen


def _load(start: StartingRun) -> keras.Model:
    """Load the model of the bytes whose digest the run records. Raises ModelFileError."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / KERAS_MODEL
        path.write_bytes(start.model)
        try:
            model = load_keras(path)
        except ModelFileError as error:
            found = error.found.replace(str(path), str(start.folder / KERAS_MODEL))
            raise ModelFileError(found, expected=error.expected, fix=error.fix) from error
    classes = len(start.spec.classes)
    if not isinstance(model, keras.Model) or model.output_shape[-1] != classes:
        raise ModelFileError(
            f"the model of {start.folder} has other classes than its contract",
            fix="use model.keras and spec.json of the same run",
        )
    return model
