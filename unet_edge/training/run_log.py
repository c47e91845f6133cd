"""The log lines of a run where no progress bar is shown: in a file, under nohup, in CI."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from unet_edge.system.duration import duration, rounded
from unet_edge.training.history import RoundResult

_INTERVAL = 60.0  # s between two lines within a round
_RECENT = 200  # steps and rounds over which the pace is averaged
_LONG = 3600.0  # s, from which on a shorter first try is suggested


@dataclass(frozen=True)
class Pace:
    """Seconds of a step, of a round's end (`close`), and of compiling once (`start`)."""

    step: float
    close: float
    start: float = 0.0

    def left(self, steps: int, rounds: int) -> float:
        """Return the seconds for a number of steps and of rounds' ends."""
        return steps * self.step + rounds * self.close


class RunLog:
    """Reports the progress of a run: one line about every minute, and one for each round.

    `say` gets each line. With `watched`, a bar shows the progress, and only the estimate at the
    beginning is reported.
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
        self._last_event = self._last_line = clock()

    def begin(self, done: int, pace: Pace, short_try: str = "") -> None:
        """Report how long the run will take after `done` steps.

        `short_try` holds the options of a shorter run, to suggest if the new run takes long.
        """
        self._pace = pace
        steps, rounds = self._steps - done, (self._steps - done) // self._per_round
        total = pace.start + pace.left(steps, rounds)
        self._say(
            f"training takes about {duration(total)} here: {steps} steps of "
            f"{duration(pace.step)} and {rounds} validations of {duration(pace.close)}; "
            "'unet-edge resume' finishes an interrupted run"
        )
        if total > _LONG and short_try and not done:
            self._say(f"for a short first try, press Ctrl-C and add: {short_try} --overwrite")
        self._last_event = self._last_line = self._clock()

    def step(self, step: int, loss: float, best: float | None) -> None:
        """Record a training step, counted from 1; `best` is the best grid mIoU so far."""
        now = self._clock()
        self._durations.append(now - self._last_event)
        self._last_event = now
        if now - self._last_line >= _INTERVAL and not self._watched:
            self._last_line = now
            outlook = self._outlook(step, best)
            self._say(f"step {step} of {self._steps}: loss {loss:.3f}, {outlook}")

    def close(self, entry: RoundResult, best: float) -> None:
        """Record the end of a round, after its validation."""
        now = self._clock()
        self._closes.append(now - self._last_event)
        self._last_event = self._last_line = now
        if self._watched:
            return
        self._say(
            f"round {entry.step // self._per_round} of {self._steps // self._per_round}, step "
            f"{entry.step} of {self._steps}: loss {entry.loss:.3f}, validation loss "
            f"{entry.validation_loss:.3f}, grid mIoU {entry.validation_grid_miou:.4f}, "
            f"{self._outlook(entry.step, best)}"
        )

    def _outlook(self, step: int, best: float | None) -> str:
        """Pictures a second, time left and best mIoU, after `step` steps."""
        pace = self._measured_pace()
        steps = self._steps - step
        rounds = -(-steps // self._per_round)
        speed = self._batch_size / pace.step if pace.step else 0.0
        shown = "-" if best is None else f"{best:.4f}"
        left = duration(pace.left(steps, rounds))
        return f"{rounded(speed, 3)} pictures/s, {left} left, best grid mIoU {shown}"

    def _measured_pace(self) -> Pace:
        """The measured pace, or the estimate for a part that is not measured yet."""
        # Means, not medians: pauses for the disk will occur in the remaining time too.
        step = sum(self._durations) / len(self._durations) if self._durations else self._pace.step
        # The first round's end also compiles the validation.
        closes = list(self._closes)[1:] or [self._pace.close]
        return Pace(step, sum(closes) / len(closes))
