"""The objective against float64 arithmetic by hand, and that it teaches."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from unet_edge.errors import ConfigError
from unet_edge.spec import IGNORE
from unet_edge.training.distillation import Student, distilled
from unet_edge.training.losses import objective
from unet_edge.training.settings.loss import Loss

# Each term is a mean of some dozens of float32 numbers near 1: exp, log and the sums round by
# 2**-24 a few times for each. A wrong formula is off by percents.
RTOL = 1e-5

CROSS_ENTROPY = Loss()
FOCAL = Loss(cross_entropy=0, focal=1)
DICE = Loss(cross_entropy=0, dice=1)
ALL = Loss(cross_entropy=0.5, focal=2, dice=3)
TERMS = pytest.mark.parametrize("loss", [CROSS_ENTROPY, FOCAL, DICE, ALL], ids=str)


def value(loss, labels, logits, weights=None):
    return float(objective(loss, weights)(np.asarray(labels, np.uint8), np.float32(logits)))


def sample(seed=0, classes=3):
    """Labels (2, 4, 5), some ignored, and logits that are neither sure nor right."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, (2, 4, 5)).astype(np.uint8)
    labels[0, :2, 1:3] = labels[1, 3] = IGNORE
    return labels, random.normal(0, 2, (2, 4, 5, classes))


def probabilities(logits):
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def by_hand(loss, labels, logits, weights=(1, 1, 1)):
    """The objective pixel by pixel in float64, straight from its definitions."""
    p = probabilities(np.float64(logits))
    pixels = [(labels[at], p[at]) for at in np.ndindex(labels.shape) if labels[at] != IGNORE]
    weight = sum(weights[label] for label, _ in pixels)
    entropy = sum(-weights[c] * math.log(q[c]) for c, q in pixels) / weight
    focal = (
        sum(-weights[c] * (1 - q[c]) ** loss.focal_gamma * math.log(q[c]) for c, q in pixels)
        / weight
    )
    coefficients = []
    for c in range(p.shape[-1]):
        shared = sum(q[c] for label, q in pixels if label == c)
        true = sum(label == c for label, _ in pixels)
        found = sum(q[c] for _, q in pixels)
        coefficients.append((2 * shared + 1) / (true + found + 1))
    dice = 1 - sum(coefficients) / len(coefficients)
    return loss.cross_entropy * entropy + loss.focal * focal + loss.dice * dice


# --- values -----------------------------------------------------------------------------------

# One pixel of class 1, believed with p = 3/4: cross-entropy ln(4/3). Dice: class 0 is nowhere and
# believed to 1/4, (0 + 1) / (0 + 1/4 + 1) = 4/5; class 1 is (3/2 + 1) / (1 + 3/4 + 1) = 10/11;
# one minus their mean is 8/55.
ONE_PIXEL = [[[1]]], [[[[0.0, math.log(3)]]]]


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (CROSS_ENTROPY, math.log(4 / 3)),
        (FOCAL, math.log(4 / 3) / 16),
        (Loss(cross_entropy=0, focal=1, focal_gamma=1), math.log(4 / 3) / 4),
        (Loss(cross_entropy=0, focal=1, focal_gamma=0), math.log(4 / 3)),
        (DICE, 8 / 55),
        (Loss(cross_entropy=2, focal=16, dice=55), 3 * math.log(4 / 3) + 8),
    ],
    ids=str,
)
def test_one_pixel_by_hand(loss, expected):
    assert value(loss, *ONE_PIXEL) == pytest.approx(expected, rel=RTOL)


def test_equal_logits_cost_the_logarithm_of_the_classes():
    labels, logits = sample()
    assert value(CROSS_ENTROPY, labels, 0 * logits) == pytest.approx(math.log(3), rel=RTOL)


@TERMS
@pytest.mark.parametrize("seed", range(3))
def test_every_term_follows_its_definition(loss, seed):
    labels, logits = sample(seed)
    assert value(loss, labels, logits) == pytest.approx(by_hand(loss, labels, logits), rel=RTOL)


@TERMS
def test_class_weights_weigh_pixels_and_their_sum(loss):
    labels, logits = sample()
    weights = (0.5, 1, 4)
    expected = by_hand(loss, labels, logits, weights)
    assert value(loss, labels, logits, weights) == pytest.approx(expected, rel=RTOL)
    if loss != DICE:
        assert value(loss, labels, logits) != pytest.approx(expected, rel=0.01)


def test_class_weights_by_hand():
    # p = 1/2 of class 0, weighing 1, and p = 3/4 of class 1, weighing 3.
    labels, logits = [[[0, 1]]], [[[[0, 0], [0, math.log(3)]]]]
    expected = (math.log(2) + 3 * math.log(4 / 3)) / 4
    assert value(CROSS_ENTROPY, labels, logits, (1, 3)) == pytest.approx(expected, rel=RTOL)
    # Only their ratios count: a learning rate keeps its meaning.
    assert value(CROSS_ENTROPY, labels, logits, (9, 27)) == pytest.approx(expected, rel=RTOL)


def test_dice_is_over_the_batch_not_a_mean_of_pictures():
    # A class in one picture of two: apart, the other picture's coefficient would be of nothing.
    labels = np.zeros((2, 2, 2), np.uint8)
    labels[0, 0, 0] = 1
    logits = np.zeros((2, 2, 2, 2))
    # Class 0: 7 px, shared 3.5, believed 4; class 1: 1 px, shared 0.5, believed 4.
    expected = 1 - ((2 * 3.5 + 1) / (7 + 4 + 1) + (2 * 0.5 + 1) / (1 + 4 + 1)) / 2
    assert value(DICE, labels, logits) == pytest.approx(expected, rel=RTOL)


@TERMS
def test_a_perfect_mask_costs_nothing(loss):
    labels, _ = sample()
    sure = 60.0 * np.eye(3)[np.where(labels == IGNORE, 0, labels)]
    # exp(-60) is below float32's resolution beside 1.
    assert value(loss, labels, sure) == pytest.approx(0, abs=1e-6)


# --- ignored pixels ---------------------------------------------------------------------------


@TERMS
@pytest.mark.parametrize("weights", [None, (1, 2, 3)], ids=str)
def test_the_prediction_at_ignored_pixels_changes_nothing(loss, weights):
    labels, logits = sample()
    other = np.where((labels == IGNORE)[..., None], 37 * logits[..., ::-1] - 5, logits)
    assert value(loss, labels, logits, weights) == value(loss, labels, other, weights)


@TERMS
@pytest.mark.parametrize("weights", [None, (1, 2, 3)], ids=str)
def test_a_batch_of_only_ignored_pixels_costs_nothing(loss, weights):
    labels, logits = sample()
    labels[:] = IGNORE
    assert value(loss, labels, logits, weights) == 0
    assert not gradient(loss, labels, logits, weights).any()


@TERMS
def test_padding_does_not_thin_the_mean(loss):
    labels, logits = sample()
    padded = np.pad(labels, ((0, 0), (0, 6), (0, 3)), constant_values=IGNORE)
    around = np.pad(logits, ((0, 0), (0, 6), (0, 3), (0, 0)))
    assert value(loss, padded, around) == pytest.approx(value(loss, labels, logits), rel=RTOL)


# --- gradients --------------------------------------------------------------------------------


def gradient(loss, labels, logits, weights=None):
    with tf.GradientTape() as tape:
        given = tf.constant(logits, tf.float32)
        tape.watch(given)
        cost = objective(loss, weights)(labels, given)
    return tape.gradient(cost, given).numpy()


@TERMS
def test_gradients_are_the_slopes_of_the_definition(loss):
    labels, logits = sample()
    found = gradient(loss, labels, logits, (1, 2, 3))
    step = 1e-5
    for at in [(0, 0, 0, 0), (0, 3, 4, 2), (1, 2, 1, 1), (0, 1, 1, 0)]:
        up, down = logits.copy(), logits.copy()
        up[at] += step
        down[at] -= step
        slope = by_hand(loss, labels, up, (1, 2, 3)) - by_hand(loss, labels, down, (1, 2, 3))
        # Central differences in float64 err by step**2 and by 1e-16 / step; float32's gradient by
        # 2**-24 a few times, of values up to 0.1.
        assert found[at] == pytest.approx(slope / (2 * step), rel=1e-4, abs=1e-7)


def test_sure_and_wrong_pixels_are_pulled_with_full_force():
    # The tutorial took the logarithm of a clipped softmax: a pixel that was sure and wrong, the
    # one to learn from, had no gradient at all.
    labels = np.array([[[0, 1]]], np.uint8)
    logits = [[[[-100.0, 100.0], [80.0, -80.0]]]]
    # (p - truth) / pixels, and p is 0 or 1 as far as float32 can tell.
    expected = [[[[-0.5, 0.5], [0.5, -0.5]]]]
    np.testing.assert_allclose(gradient(CROSS_ENTROPY, labels, logits), expected, rtol=RTOL)
    # 1 - p is 1 here: focal's force is cross-entropy's.
    np.testing.assert_allclose(gradient(FOCAL, labels, logits), expected, rtol=RTOL)


@pytest.mark.parametrize("gamma", [0, 0.5, 1, 2, 5])
def test_focal_gradients_are_finite_for_every_gamma(gamma):
    labels, logits = sample()
    logits[0, 3] = 200 * np.eye(3)[labels[0, 3]]  # sure and right: 1 - p is 0, as if ignored
    loss = Loss(cross_entropy=0, focal=1, focal_gamma=gamma)
    found = gradient(loss, labels, logits)
    assert np.isfinite(found).all()
    assert not found[labels == IGNORE].any()
    assert found[1, :3].any()


# --- distillation -----------------------------------------------------------------------------


def pointwise(seed):
    """A network of one 1x1 convolution: logits of two classes."""
    pixels = keras.Input((None, None, 3))
    random = keras.initializers.RandomNormal(seed=seed)
    logits = keras.layers.Conv2D(2, 1, kernel_initializer=random)(pixels)
    return keras.Model(pixels, logits)


def fixed(logits):
    """A teacher that says the same of every pixel."""
    pixels = keras.Input((None, None, 3))
    bias = keras.initializers.Constant(logits)
    layer = keras.layers.Conv2D(2, 1, kernel_initializer="zeros", bias_initializer=bias)
    return keras.Model(pixels, layer(pixels))


LABELS = np.array([[[0, 1, IGNORE]]], np.uint8)
PIXELS = np.zeros((1, 1, 3, 3), np.float32)


def distilled_loss(teacher, weight, temperature, labels, logits):
    loss = distilled(objective(CROSS_ENTROPY), teacher, weight, temperature)
    return float(loss(PIXELS, np.asarray(labels, np.uint8), np.float32(logits)))


def test_a_student_equal_to_its_teacher_has_only_the_labels_share_of_the_loss():
    logits = np.broadcast_to([0.0, math.log(3)], (1, 1, 3, 2))
    teacher = fixed([0.0, math.log(3)])
    assert distilled_loss(teacher, 1, 2, LABELS, logits) == pytest.approx(0, abs=1e-7)
    labels_alone = (math.log(4) + math.log(4 / 3)) / 2
    assert distilled_loss(teacher, 0.25, 2, LABELS, logits) == pytest.approx(
        0.75 * labels_alone, rel=RTOL
    )


@pytest.mark.parametrize("temperature", [1, 2, 4])
def test_disagreement_is_the_divergence_at_the_temperature(temperature):
    t, s = np.array([0.0, 2.0]), np.array([1.5, 0.0])
    p, q = probabilities(t / temperature), probabilities(s / temperature)
    divergence = sum(p * np.log(p / q))
    logits = np.broadcast_to(s, (1, 1, 3, 2))
    found = distilled_loss(fixed(t), 1, temperature, LABELS, logits)
    assert found == pytest.approx(temperature**2 * divergence, rel=RTOL)


def test_with_weight_one_labels_only_decide_what_is_ignored():
    teacher, random = fixed([0.0, 2.0]), np.random.default_rng(0)
    logits = random.normal(0, 1, (1, 1, 3, 2))
    first = distilled_loss(teacher, 1, 2, [[[0, 1, IGNORE]]], logits)
    assert distilled_loss(teacher, 1, 2, [[[1, 1, IGNORE]]], logits) == first
    assert distilled_loss(teacher, 1, 2, [[[1, IGNORE, 0]]], logits) != pytest.approx(
        first, rel=0.01
    )
    logits[0, 0, 2] += 9
    assert distilled_loss(teacher, 1, 2, [[[0, 1, IGNORE]]], logits) == first


def test_a_student_is_pulled_towards_its_teacher_who_stays():
    random = np.random.default_rng(0)
    pixels = random.normal(0, 1, (4, 8, 8, 3)).astype(np.float32)
    labels = np.zeros((4, 8, 8), np.uint8)
    teacher, network = pointwise(seed=1), pointwise(seed=2)
    teacher.set_weights([20 * weight for weight in teacher.get_weights()])
    before = teacher.get_weights()
    student = Student(network.inputs, network.outputs[0])
    student.learn_from(distilled(objective(CROSS_ENTROPY), teacher, weight=1, temperature=2))
    student.compile(optimizer=keras.optimizers.Adam(0.1), loss=None)
    losses = []
    for _ in range(60):
        student.reset_metrics()
        losses.append(student.train_on_batch(pixels, labels, return_dict=True)["loss"])
    assert losses[-1] < 0.01 * losses[0]
    # The teacher is no part of the student: its weights are neither trained nor saved.
    assert len(student.weights) == len(network.weights) == 2
    assert all(map(np.array_equal, teacher.get_weights(), before))
    # The network that is saved is the one that learned.
    predicted = [np.asarray(model(pixels)).argmax(-1) for model in (network, teacher)]
    assert (predicted[0] == predicted[1]).mean() > 0.95


# --- settings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"focal": -0.1}, "focal is -0.1; it must be at least 0"),
        ({"dice": math.nan}, "dice is nan; it must be at least 0"),
        ({"focal_gamma": -1}, "focal_gamma is -1; it must be at least 0"),
        ({"cross_entropy": 0}, "cross_entropy, focal and dice are 0; at least one must"),
        ({"class_weights": (1, 0)}, r"the class weights are \(1, 0\); all must be above 0"),
        ({"class_weights": (1, math.nan)}, "all must be above 0"),
        ({"cross_entropy": math.inf}, "cross_entropy is inf; it must be at least 0 and finite"),
        (
            {"class_weights": (1, 2), "balanced": True},
            "are both given and balanced; give the weights",
        ),
    ],
)
def test_settings_that_make_no_loss_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Loss(**settings)
