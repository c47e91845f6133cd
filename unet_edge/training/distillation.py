"""Distillation: a student that learns from the logits of a trained run and from the labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from unet_edge.errors import ConfigError
from unet_edge.runtime.backends.keras_model import load_keras
from unet_edge.runtime.segmenter import KERAS_MODEL, SPEC_FILE, read_spec
from unet_edge.spec import IGNORE, ModelSpec
from unet_edge.training.graph import require_size
from unet_edge.training.losses import Objective
from unet_edge.training.precision import dtype_policy
from unet_edge.training.settings.distillation import Distillation
from unet_edge.training.settings.train_config import TrainConfig
from unet_edge.training.starting_run import network_of


def with_teacher(
    model: keras.Model, config: TrainConfig, spec: ModelSpec, target: Objective
) -> tuple[keras.Model, Objective | None]:
    """Return the model to train and the loss to compile it with.

    With a teacher, the model is a Student with a loss of its own. Raises ConfigError for a teacher
    that does not match the run.
    """
    distillation = config.distillation
    if distillation is None:
        return model, target
    teacher = _open_teacher(distillation, config, spec)
    with dtype_policy(model.dtype_policy.name):  # it decides whether Keras scales the loss
        student = Student(model.inputs, model.outputs[0])
    student.learn_from(distilled(target, teacher, distillation.weight, distillation.temperature))
    return student, None


def _open_teacher(distillation: Distillation, config: TrainConfig, spec: ModelSpec) -> keras.Model:
    folder = distillation.teacher
    teacher_spec = read_spec(folder / SPEC_FILE)
    # Normalisations may differ: each network gets pixels and normalises them itself.
    if teacher_spec.classes != spec.classes:
        raise ConfigError(
            f"the teacher {folder} has the classes {teacher_spec.classes}",
            expected=f"expected {spec.classes}",
        )
    stride = network_of(folder).stride
    if any(edge % stride for edge in config.crop_size):
        raise ConfigError(
            f"the crops are {config.crop_size[0]}x{config.crop_size[1]} px",
            expected=f"the teacher {folder} needs multiples of {stride} px",
        )
    teacher = load_keras(folder / KERAS_MODEL)
    if network_of(folder).architecture == "imported":
        require_size(teacher, config.crop_size, "the crop", f"the teacher {folder}")
    teacher.trainable = False
    return teacher


def distilled(
    hard: Objective, teacher: keras.Model, weight: float, temperature: float
) -> Callable[[Any, Any, Any], Any]:
    """Mix an objective with the divergence from a teacher (Hinton et al. 2015, arXiv:1503.02531).

    Returns a loss of pixels, labels and logits: (1 - weight) * hard + weight * T^2 *
    KL(teacher || student) at temperature T, in nats per pixel that is not IGNORE.
    """

    def total(pixels: Any, labels: Any, logits: Any) -> Any:
        teacher_logits = ops.stop_gradient(ops.cast(teacher(pixels, training=False), "float32"))
        teacher_log_p = ops.log_softmax(teacher_logits / temperature, axis=-1)
        student_log_p = ops.log_softmax(ops.cast(logits, "float32") / temperature, axis=-1)
        valid = ops.cast(ops.not_equal(labels, IGNORE), "float32")
        divergence = ops.sum(ops.exp(teacher_log_p) * (teacher_log_p - student_log_p), axis=-1)
        mean = ops.sum(divergence * valid) / ops.maximum(ops.sum(valid), 1.0)
        return (1 - weight) * hard(labels, logits) + weight * temperature**2 * mean

    return total


class Student(keras.Model):
    """A functional model that trains on a loss of pixels, labels and logits.

    A teacher needs the pixels, which Keras does not pass to a compiled loss.
    """

    def learn_from(self, loss: Callable[[Any, Any, Any], Any]) -> None:
        """Set the training loss."""
        # In a closure, because Keras would track the teacher as a layer of this model.
        self._loss_of: Callable[[], Any] = lambda: loss

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Return the loss set by learn_from."""
        return self._loss_of()(x, y, y_pred)
