"""A stage that is slowed down on purpose, and what is right of a comparison."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys

from made_up_benchmarks import FILES, made_up

from benchmarks.repeats import _judged, _slower

STAGES = """
import json, time
from unet_edge.system.timing import StageClock
clock = StageClock()
clock.start()
for stage in ("place", "infer"):
    time.sleep(0.05)
    clock(stage)
print(json.dumps(clock.laps))
"""


def laps() -> dict[str, list[float]]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-P", "-c", STAGES]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, list[float]] = json.loads(done.stdout)
    return found


def test_one_stage_of_every_child_takes_longer_by_the_given_share() -> None:
    path = list(sys.path)
    with _slower("infer", 2.0):
        slow = laps()
    # Sleeping never takes less time than asked for, and waiting takes twice the time of the sleep.
    assert slow["infer"][0] >= 150
    assert sys.path == path
    assert "SLOWER_STAGE" not in os.environ
    assert laps()["place"][0] >= 50


def test_a_comparison_is_right_if_it_names_the_stage_and_no_other() -> None:
    slow, both = (
        {(FILES[0], stage): 1.2 for stage in stages} for stages in (["mask"], ["mask", "infer"])
    )
    start = made_up(0, noise=1e-3)
    assert _judged(None, start, made_up(1, noise=1e-3))["right"]
    assert not _judged(None, start, made_up(1, slow, noise=1e-3))["right"]
    assert _judged("mask", start, made_up(1, slow, noise=1e-3))["right"]
    assert not _judged("decode", start, made_up(1, slow, noise=1e-3))["right"]
    assert not _judged("mask", start, made_up(1, both, noise=1e-3))["right"]
    assert not _judged("mask", start, made_up(1, noise=1e-3))["right"]
    other = dataclasses.replace(start, width=64)
    refused = _judged(None, start, other)
    assert (refused["refused"], refused["right"]) == (True, False)
