"""Rate and history of a camera, with a clock of the test."""

import pytest

from unet_edge.live.figures import FrameRate, History


def test_the_rate_is_that_of_the_last_three_seconds():
    rate = FrameRate()
    assert rate.at(0) is None
    rate.add(0)
    assert rate.at(0) is None
    for number in range(1, 101):
        rate.add(number / 10)  # ten a second until 10 s
    assert rate.at(10) == pytest.approx(10)
    for number in range(1, 21):
        rate.add(10 + number / 4)  # then four a second
    assert rate.at(15) == pytest.approx(4)
    assert rate.at(18.5) == 0  # nothing has come for three seconds


def test_a_point_of_the_history_is_the_mean_of_a_second():
    history = History()
    for number in range(41):  # four frames a second, for ten seconds
        history.add(number / 4, (number % 4 / 4, 1 - number % 4 / 4))
    points = history.since(10)
    assert [ago for ago, _ in points] == [10.0 - second for second in range(1, 11)]
    for _, shares in points:
        assert shares == pytest.approx((0.375, 0.625))  # of 0, 1/4, 1/2, 3/4


def test_the_history_keeps_a_minute():
    history = History()
    for second in range(200):
        history.add(second, (1.0,))
    points = history.since(199)
    assert len(points) == 60
    assert max(ago for ago, _ in points) <= 60
    assert history.since(230)[0][0] <= 60


def test_a_second_before_a_pause_keeps_its_time():
    history = History()
    history.add(0.0, (1.0,))
    history.add(30.0, (0.0,))
    assert history.since(30) == [(29.0, (1.0,))]


def test_a_model_with_other_classes_begins_anew():
    history = History()
    history.add(0.0, (0.5, 0.5))
    history.add(0.1, (0.2, 0.3, 0.5))
    history.add(1.2, (0.2, 0.3, 0.5))
    assert [shares for _, shares in history.since(2)] == [
        pytest.approx((0.5, 0.5)),
        pytest.approx((0.2, 0.3, 0.5)),
    ]
