"""Schedules step by step, and what one step of an optimiser does to which weight."""

import keras
import numpy as np
import pytest

from unet_edge.errors import ConfigError
from unet_edge.training.optimisation import Schedule, build_optimizer
from unet_edge.training.settings.optimisation import Optimisation

# A rate is a handful of float32 operations on numbers near 1, each good to 2**-24.
RTOL = 1e-6


def rates(steps, start=0, count=None, **settings):
    schedule = Schedule(Optimisation(**settings), steps, start)
    return [float(schedule(step)) for step in range(count or steps)]


# --- schedules --------------------------------------------------------------------------------

# 10 of 110 steps of warm-up, 100 of decay, from 0.4 to a tenth of it.
RUN = {"steps": 110, "learning_rate": 0.4, "warmup": 10 / 110, "final_rate": 0.1}


@pytest.mark.parametrize("kind", ["cosine", "exponential", "constant"])
def test_the_rate_rises_in_equal_steps_from_the_first_one(kind):
    found = rates(schedule=kind, **RUN)[:10]
    assert found == pytest.approx([0.04 * k for k in range(1, 11)], rel=RTOL)


@pytest.mark.parametrize(
    ("kind", "quarter", "middle", "end"),
    [
        # 0.1 + 0.9 (1 + cos(pi/4)) / 2, then the mean of 1 and 0.1, then 0.1.
        ("cosine", 0.4 * (0.1 + 0.45 * (1 + np.sqrt(0.5))), 0.4 * 0.55, 0.04),
        ("exponential", 0.4 * 0.1**0.25, 0.4 * np.sqrt(0.1), 0.04),
        ("constant", 0.4, 0.4, 0.4),
    ],
)
def test_the_rate_decays_from_the_peak_to_the_final_rate(kind, quarter, middle, end):
    found = rates(schedule=kind, count=112, **RUN)
    assert max(found) == pytest.approx(0.4, rel=RTOL)
    at = [found[step] for step in (10, 35, 60, 110, 111)]
    assert at == pytest.approx([0.4, quarter, middle, end, end], rel=RTOL)
    assert found[10:] == sorted(found[10:], reverse=True)


def test_without_warm_up_the_first_step_is_at_the_peak():
    for steps in (1, 2, 50):
        assert rates(steps, warmup=0, learning_rate=0.1)[0] == pytest.approx(0.1, rel=RTOL)


@pytest.mark.parametrize("kind", ["cosine", "exponential", "constant"])
@pytest.mark.parametrize("start", [4, 50])
def test_an_optimiser_made_during_a_run_continues_exactly(kind, start):
    whole = rates(schedule=kind, **RUN)
    assert rates(schedule=kind, start=start, count=110 - start, **RUN) == whole[start:]


# --- one step ---------------------------------------------------------------------------------


def network():
    """A depthwise and a plain convolution, BatchNorm and a bias: a kind of weight each."""
    pixels = keras.Input((4, 4, 3))
    x = keras.layers.DepthwiseConv2D(3, use_bias=False, name="depthwise")(pixels)
    x = keras.layers.Conv2D(2, 1, use_bias=False, name="pointwise")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    model = keras.Model(pixels, keras.layers.Conv2D(2, 1, name="logits")(x))
    for variable in model.trainable_variables:
        variable.assign(np.full(variable.shape, 2.0, np.float32))
    return model


def optimizer(steps=100, **settings):
    options = {"learning_rate": 0.1, "warmup": 0, "schedule": "constant"}
    return build_optimizer(Optimisation(**options | settings), steps)


def zeros(model):
    return [np.zeros(variable.shape, np.float32) for variable in model.trainable_variables]


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_decay_shrinks_only_kernels(kind):
    model = network()
    optimizer(optimizer=kind, weight_decay=0.5).apply(zeros(model), model.trainable_variables)
    after = {variable.path: np.asarray(variable) for variable in model.trainable_variables}
    shrunk = {path for path, weight in after.items() if (weight != 2).any()}
    assert shrunk == {"depthwise/kernel", "pointwise/kernel", "logits/kernel"}
    for path in shrunk:
        # Decoupled (Loshchilov and Hutter 2019): 1 - rate * decay = 1 - 0.1 * 0.5.
        np.testing.assert_allclose(after[path], 2 * 0.95, rtol=RTOL)
    assert {path.rpartition("/")[2] for path in after.keys() - shrunk} == {"gamma", "beta", "bias"}


def test_adam_decays_nothing():
    model = network()
    optimizer(optimizer="adam", weight_decay=0.5).apply(zeros(model), model.trainable_variables)
    assert all((np.asarray(variable) == 2).all() for variable in model.trainable_variables)


def walk(chosen, gradients, start=0.0):
    """Where one weight goes on a list of gradients."""
    weight = keras.Variable([start], name="kernel")
    chosen.build([weight])
    places = []
    for gradient in gradients:
        chosen.apply([np.float32([gradient])], [weight])
        places.append(float(np.asarray(weight)[0]))
    return places


def test_sgd_has_nesterovs_momentum():
    # v = 0.9 v - rate g, and the step looks ahead: 0.9 v - rate g. With g = 1, then 0:
    # v = -0.1, step -0.19; v = -0.09, step -0.081. Plain momentum would step -0.1 and -0.09.
    found = walk(optimizer(optimizer="sgd", weight_decay=0), [1, 0])
    assert found == pytest.approx([-0.19, -0.271], rel=RTOL)


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_adams_first_steps_have_the_length_of_the_rate(kind):
    # Kingma and Ba 2015: m / sqrt(v) is 1 for equal gradients of any size. The bias correction
    # 1 - 0.999 is good to 2**-24, which is 6e-5 of it, and half of that after the root.
    found = walk(optimizer(optimizer=kind, weight_decay=0), [5, 5])
    assert found == pytest.approx([-0.1, -0.2], rel=3e-5)


def test_averaged_weights_remember_their_share_of_the_run():
    # A fifth of 20 steps: momentum 1 - 1/4. The weight is put where the average should look.
    chosen = optimizer(steps=20, optimizer="sgd", weight_decay=0, ema=0.2)
    weight = keras.Variable([0.0], name="kernel")
    chosen.build([weight])
    average = None
    for place in (8.0, 4.0, 0.0, 2.0):
        weight.assign([place])
        chosen.apply([np.zeros(1, np.float32)], [weight])
        average = place if average is None else 0.75 * average + 0.25 * place
    assert float(np.asarray(weight)[0]) == 2.0
    chosen.finalize_variable_values([weight])
    # ((8 * 3/4 + 1) * 3/4) * 3/4 + 1/2 = 4.4375
    assert average == 4.4375
    assert float(np.asarray(weight)[0]) == pytest.approx(average, rel=RTOL)


@pytest.mark.parametrize("share", [0.001, 0.01])
def test_a_memory_of_less_than_a_step_is_the_last_weight(share):
    chosen = optimizer(steps=100, optimizer="sgd", weight_decay=0, ema=share)
    weight = keras.Variable([1.0], name="kernel")
    chosen.build([weight])
    for place in (5.0, 3.0):
        weight.assign([place])
        chosen.apply([np.zeros(1, np.float32)], [weight])
    chosen.finalize_variable_values([weight])
    assert float(np.asarray(weight)[0]) == 3.0


# --- settings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "lion"}, "unknown optimizer 'lion'; choose one of adamw, adam, sgd"),
        ({"schedule": "step"}, "choose one of cosine, exponential, constant"),
        ({"precision": "int8"}, "choose one of float32, mixed_bfloat16, mixed_float16, auto"),
        ({"learning_rate": 0}, "the learning rate is 0; it must be above 0"),
        ({"learning_rate": float("nan")}, "the learning rate is nan; it must be above 0"),
        ({"weight_decay": -1e-4}, "the weight decay is -0.0001; it must be at least 0"),
        ({"final_rate": 0}, "final_rate is 0; it must be above 0 and at most 1"),
        ({"final_rate": 1.5}, "final_rate is 1.5; it must be above 0 and at most 1"),
        ({"warmup": 1}, "warmup is 1; a share must be at least 0 and below 1"),
        ({"ema": -0.1}, "ema is -0.1; a share must be"),
        ({"freeze": 2}, "freeze is 2; a share must be"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Optimisation(**settings)
