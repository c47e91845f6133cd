"""Checkpoints: what is read is what was written, or nothing is."""

import resource

import keras
import numpy as np
import pytest

from unet_edge.errors import TrainingError
from unet_edge.training.checkpoint import (
    Checkpoint,
    model_state,
    optimizer_state,
    restore_model,
    restore_optimizer,
)


def example(seed=0):
    random = np.random.default_rng(seed)
    return Checkpoint(
        model=[random.normal(size=(3, 2)).astype(np.float32), np.array([1, 2**32 - 1], np.uint32)],
        optimizer=[np.array(7, np.int64), *(np.float32([k]) for k in range(11))],
        best=[np.zeros((0, 4), np.float32), np.float32([np.nan, np.inf, -0.0])],
        facts={"history": [{"step": 3, "loss": 0.1 + 0.2}], "name": "überall", "none": None},
    )


def same(first, second):
    return (first.dtype, first.shape, first.tobytes()) == (
        second.dtype,
        second.shape,
        second.tobytes(),
    )


def equal(first, second):
    groups = ("model", "optimizer", "best")
    return first.facts == second.facts and all(
        len(getattr(first, group)) == len(getattr(second, group))
        and all(map(same, getattr(first, group), getattr(second, group)))
        for group in groups
    )


def test_a_checkpoint_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "new" / "checkpoint"
    example().write(path)
    assert equal(Checkpoint.read(path), example())
    assert not equal(Checkpoint.read(path), example(1))


@pytest.mark.parametrize("kept", [0, 1, 63, 64, 65, 100, 0.5, 0.9, -22, -1])
def test_a_truncated_file_is_refused(tmp_path, kept):
    path = tmp_path / "checkpoint"
    example().write(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if isinstance(kept, float) else kept])
    with pytest.raises(TrainingError, match=r"checkpoint is damaged: .* --overwrite"):
        Checkpoint.read(path)


def test_any_flipped_byte_is_found(tmp_path):
    path = tmp_path / "checkpoint"
    example().write(path)
    data = path.read_bytes()
    for place in [*range(80), *range(80, len(data), 37), len(data) - 1]:
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(TrainingError, match="is damaged"):
            Checkpoint.read(path)


@pytest.mark.parametrize("content", [b"", b"a letter", b"\x93NUMPY", b"PK\x05\x06" + bytes(18)])
def test_a_file_that_is_not_a_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "checkpoint").write_bytes(content)
    with pytest.raises(TrainingError, match="is damaged"):
        Checkpoint.read(tmp_path / "checkpoint")


def test_a_folder_in_its_place_is_refused(tmp_path):
    with pytest.raises(TrainingError, match=r"cannot read .*: Is a directory"):
        Checkpoint.read(tmp_path)


def test_an_interrupted_write_leaves_the_old_one(tmp_path):
    path = tmp_path / "checkpoint"
    example(1).write(path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # as if the disk were full
    try:
        with pytest.raises(OSError, match="File too large"):
            example(2).write(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert equal(Checkpoint.read(path), example(1))
    assert [left.name for left in tmp_path.iterdir()] == ["checkpoint"]


# --- models and optimisers --------------------------------------------------------------------


def network(seed):
    """Weights, statistics and a random state."""
    keras.utils.set_random_seed(seed)
    pixels = keras.Input((4, 4, 3))
    x = keras.layers.Conv2D(4, 3)(pixels)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dropout(0.5)(x)
    model = keras.Model(pixels, keras.layers.Conv2D(2, 1)(x))
    model.compile(optimizer=keras.optimizers.Adam(0.01, use_ema=True), loss="mse")
    return model


def trained(model, steps, seed):
    random = np.random.default_rng(seed)
    for _ in range(steps):
        x, y = random.normal(size=(2, 4, 4, 3)), random.normal(size=(2, 2, 2, 2))
        model.train_on_batch(x.astype(np.float32), y.astype(np.float32))
    return model


def test_a_model_continues_from_its_state_bit_for_bit(tmp_path):
    model = trained(network(1), 3, seed=1)
    checkpoint = Checkpoint(model_state(model), optimizer_state(model.optimizer), [], {})
    checkpoint.write(tmp_path / "checkpoint")
    trained(model, 3, seed=2)

    stored = Checkpoint.read(tmp_path / "checkpoint")
    other = network(2)
    restore_model(other, stored.model)
    other.optimizer.build(other.trainable_variables)
    restore_optimizer(other.optimizer, stored.optimizer)
    trained(other, 3, seed=2)
    assert all(map(same, model_state(model), model_state(other)))
    assert all(map(same, optimizer_state(model.optimizer), optimizer_state(other.optimizer)))


def test_the_state_of_a_model_holds_its_random_layers():
    model = network(1)
    count = len(model_state(model))
    # Two kernels and biases, four of BatchNorm, one of dropout, which is no weight.
    assert count == len(model.get_weights()) + 1 == 9
    before = model_state(model)
    model(np.ones((1, 4, 4, 3), np.float32), training=True)
    changed = [not same(a, b) for a, b in zip(before, model_state(model), strict=True)]
    assert sum(changed) == 3  # dropout's, and BatchNorm's mean and variance


def test_a_state_is_a_copy():
    model = network(1)
    state = model_state(model)
    kept = [array.copy() for array in state]
    trained(model, 2, seed=3)
    assert all(map(same, state, kept))
