"""What a run says of itself where nobody watches a bar: in a log, under nohup, in CI."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from unet_edge.training.history import RoundResult

_EVERY = 60.0  # s between two lines within a round
_RECENT = 200  # steps that the pace is taken of


@dataclass(frozen=True)
class Pace:
    """How long a step, and what ends a round, take: s. `start` is spent once, on compiling."""

    step: float
    close: float
    start: float = 0.0

    def left(self, steps: int, rounds: int) -> float:
        """Seconds for so many steps and ends of rounds."""
        return steps * self.step + rounds * self.close


class RunLog:
    """Says how a run goes: a line at least every minute, and one for each round.

    It is silent within rounds where `watched`, since a bar shows the same there.
    """

    def __init__(
        self,
        steps: int,
        steps_per_round: int,
        batch_size: int,
        say: Callable[[str], None],
        *,
        watched: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._steps = steps
        self._per_round = steps_per_round
        self._batch_size = batch_size
        self._say = say
        self._watched = watched
        self._clock = clock
        self._pace = Pace(0.0, 0.0)
        self._durations: deque[float] = deque(maxlen=_RECENT)
        self._closes: deque[float] = deque(maxlen=_RECENT)
        self._mark = self._said = clock()

    def begin(self, done: int, pace: Pace) -> None:
        """Say how long the run will take; `done` steps are behind it."""
        self._pace = pace
        steps, rounds = self._steps - done, (self._steps - done) // self._per_round
        whole = duration(pace.start + pace.left(steps, rounds))
        self._say(
            f"training takes about {whole} here: {steps} steps of {pace.step:.2g} s and "
            f"{rounds} rounds' ends of {pace.close:.2g} s; a run that is cut off is finished by "
            "'unet-edge resume'"
        )
        self._mark = self._said = self._clock()

    def step(self, step: int, loss: float, best: float | None) -> None:
        """A batch was trained on; `step` counts from 1, `best` is the best grid mIoU so far."""
        now = self._clock()
        self._durations.append(now - self._mark)
        self._mark = now
        if now - self._said >= _EVERY and not self._watched:
            self._said = now
            self._say(f"step {step} of {self._steps}: loss {loss:.3f}, {self._rest(step, best)}")

    def close(self, entry: RoundResult, best: float) -> None:
        """A round ended, with what follows its last step."""
        now = self._clock()
        self._closes.append(now - self._mark)
        self._mark = self._said = now
        if self._watched:
            return
        self._say(
            f"round {entry.step // self._per_round} of {self._steps // self._per_round}, step "
            f"{entry.step} of {self._steps}: loss {entry.loss:.3f}, validation loss "
            f"{entry.validation_loss:.3f}, grid mIoU {entry.validation_grid_miou:.4f}, "
            f"{self._rest(entry.step, best)}"
        )

    def _rest(self, step: int, best: float | None) -> str:
        """Pictures a second, time left and best mIoU, after `step` steps."""
        pace = self._measured()
        steps = self._steps - step
        rounds = -(-steps // self._per_round)
        speed = self._batch_size / pace.step if pace.step else 0.0
        shown = "-" if best is None else f"{best:.4f}"
        left = duration(pace.left(steps, rounds))
        return f"{speed:.3g} pictures/s, {left} left, best grid mIoU {shown}"

    def _measured(self) -> Pace:
        """The pace as measured, or as estimated where nothing is."""
        # Sums, not medians: a pause for the disk belongs to the time that is left.
        steps = sum(self._durations) / len(self._durations) if self._durations else self._pace.step
        # The first end of a round compiles what validates.
        closes = list(self._closes)[1:] or [self._pace.close]
        return Pace(steps, sum(closes) / len(closes))


def duration(seconds: float) -> str:
    """A time as a person says it: 40 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
