"""The log lines of a run: an estimate, then a line about every minute and one for each round."""

import pytest

from unet_edge.training.history import RoundResult
from unet_edge.training.run_log import Pace, RunLog, duration


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def log(clock, lines, *, watched=False):
    """Of 100 steps in 4 rounds, 8 pictures each."""
    return RunLog(100, 25, 8, lines.append, watched=watched, clock=clock)


def entry(step, miou=0.5):
    return RoundResult(step, 0.001, 0.7, 0.6, miou, "augmented")


def run(clock, *, watched=False, step=4.0, close=20.0, rounds=4):
    lines = []
    run_log = log(clock, lines, watched=watched)
    run_log.begin(0, Pace(step, close, start=10))
    for number in range(25 * rounds):
        clock.now += step
        run_log.step(number + 1, 0.8, None if number < 25 else 0.5)
        if (number + 1) % 25 == 0:
            clock.now += close
            run_log.close(entry(number + 1), 0.5)
    return lines


def test_the_estimate_matches_the_time_of_the_run(clock):
    lines = run(clock)
    # 10 + 100 * 4 + 4 * 20 = 490 s
    assert lines[0].startswith(
        "training takes about 8 min here: 100 steps of 4 s and 4 validations"
    )
    assert clock.now - 1000 == pytest.approx(480)


def test_a_line_for_each_minute_and_each_round(clock):
    lines = run(clock)[1:]
    assert [line.split(":")[0] for line in lines] == [
        "step 15 of 100",
        "round 1 of 4, step 25 of 100",
        "step 40 of 100",
        "round 2 of 4, step 50 of 100",
        "step 65 of 100",
        "round 3 of 4, step 75 of 100",
        "step 90 of 100",
        "round 4 of 4, step 100 of 100",
    ]
    assert lines[0] == (
        # 85 * 4 + 4 * 20 s
        "step 15 of 100: loss 0.800, 2 pictures/s, 7 min left, best grid mIoU -"
    )
    assert lines[1] == (
        "round 1 of 4, step 25 of 100: loss 0.700, validation loss 0.600, "
        "grid mIoU 0.5000, 2 pictures/s, 6 min left, best grid mIoU 0.5000"
    )
    assert lines[-1].endswith("0 s left, best grid mIoU 0.5000")


def test_times_and_speeds_have_no_exponents(clock):
    lines = run(clock, step=0.004, close=220)  # 8 pictures in 0.004 s
    assert "100 steps of 0.004 s and 4 validations of 4 min;" in lines[0]
    assert "2000 pictures/s" in lines[1]


def test_a_long_run_suggests_a_short_first_try(clock):
    lines = []
    log(clock, lines).begin(0, Pace(40, 1), "--size 128")
    assert lines[1] == "for a short first try, press Ctrl-C and add: --size 128 --overwrite"
    log(clock, lines).begin(0, Pace(35, 1), "--size 128")  # 3504 s
    log(clock, lines).begin(0, Pace(40, 1))  # no settings are shorter
    log(clock, lines).begin(25, Pace(400, 1), "--size 128")  # resumed: its rounds would be lost
    assert len(lines) == 5


def test_the_time_left_follows_the_measurement_not_the_estimate(clock):
    lines = []
    run_log = log(clock, lines)
    run_log.begin(0, Pace(0.1, 0.1))
    for number in range(50):
        clock.now += 10  # a hundred times as slow
        run_log.step(number + 1, 0.8, None)
        if number in (24, 49):
            clock.now += 100
            run_log.close(entry(number + 1), 0.5)
    assert "12 min left" in lines[-1]  # 50 * 10 + 2 * 100 s


def test_beside_a_progress_bar_only_the_estimate_is_reported(clock):
    assert len(run(clock, watched=True)) == 1


def test_a_resumed_run_reports_the_remaining_time(clock):
    lines = []
    log(clock, lines).begin(75, Pace(2, 10))
    assert lines[0].startswith("training takes about 60 s here: 25 steps of 2 s and 1 validations")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.00001, "under 1 ms"),
        (0.001, "0.001 s"),
        (0.004, "0.004 s"),
        (0.123, "0.12 s"),
        (9.96, "10 s"),
        (89, "89 s"),
        (91, "2 min"),
        (3600, "60 min"),
        (12000, "3 h 20 min"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
