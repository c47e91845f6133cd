"""Minutes on end: the rates of made-up samples, and a real second."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from unet_edge.benchmarking.chart import sustained_lines
from unet_edge.benchmarking.sustained import Sample, Sustained, measure_sustained
from unet_edge.benchmarking.tables import sustained_text
from unet_edge.bundle.bundle import Bundle
from unet_edge.errors import BackendError


def warming() -> Sustained:
    """A minute in samples of a second: 20 pictures each at first, 15 from second 41 on."""
    samples = [
        Sample(
            float(second),
            20 if second <= 40 else 15,
            50.0,
            1800.0 if second <= 40 else 1200.0,
            40.0 + second / 2,
            ("throttled now",) if second > 40 else (),
        )
        for second in range(1, 61)
    ]
    return Sustained("model-int8.tflite", 1.0, tuple(samples))


def test_the_warm_rate_is_that_of_the_last_quarter() -> None:
    minute = warming()
    assert minute.cold_rate == pytest.approx(20)
    assert [minute.warm[0].seconds, minute.warm[-1].seconds] == [46, 60]
    assert minute.warm_rate == pytest.approx(15)
    assert sustained_text(minute) == (
        "model-int8.tflite, 1.00 minutes without a pause: 20.0 pictures a second at first, 15.0 in "
        "the last quarter; 40 to 70 °C; 1800 to 1200 MHz; throttled now"
    )


def test_a_single_sample_is_cold_and_warm() -> None:
    one = Sustained("a", 0.02, (Sample(1.5, 30, 50.0, None, None, None),))
    assert (one.cold_rate, one.warm_rate) == (20, 20)
    assert sustained_text(one).endswith("20.0 in the last quarter")


def test_lines_show_what_is_known() -> None:
    titles = [line.frame.y_title for line in sustained_lines(warming())]
    assert titles == ["pictures a second", "temperature, °C", "clock, MHz"]
    unknown = [dataclasses.replace(each, mhz=None, temperature=None) for each in warming().samples]
    (rate,) = sustained_lines(Sustained("a", 1.0, tuple(unknown)))
    heights = [float(point.split(",")[1]) for point in rate.points.split()]
    assert len(heights) == 60
    # The axis of y goes down, from 0 at the bottom: 15 is three quarters of 20.
    bottom = rate.frame.bottom
    assert (bottom - heights[-1]) / (bottom - heights[0]) == pytest.approx(0.75, abs=0.01)


def test_a_file_is_measured_for_a_second(bundle_path: Path) -> None:
    bundle = Bundle.open(bundle_path)
    found = measure_sustained(
        bundle.path,
        "model-int8.tflite",
        label="int8",
        threads=1,
        backend=None,
        pictures=[bundle.path / golden.picture for golden in bundle.golden],
        minutes=1.2 / 60,
    )
    assert found.label == "int8"
    last = found.samples[-1]
    assert last.seconds >= 1.0
    assert sum(each.pictures for each in found.samples) * last.p50_ms < 2 * 1e3 * last.seconds
    assert Sustained.from_dict(json.loads(json.dumps(dataclasses.asdict(found)))) == found


def test_a_file_that_cannot_run_is_an_error(bundle_path: Path) -> None:
    with pytest.raises(BackendError, match=r"b did not run: .*nothing\.tflite"):
        measure_sustained(
            bundle_path,
            "nothing.tflite",
            label="b",
            threads=1,
            backend=None,
            pictures=[],
            minutes=0.01,
        )
