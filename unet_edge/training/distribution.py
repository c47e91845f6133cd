"""Data-parallel training on several devices and machines, by Keras' distribution API on JAX.

Each process draws a part of the batch. The parts form one global batch, so BatchNorm sees all of it
and the result is that of one device. JAX compiles the batch into one program. Unlike
TensorFlow's strategies, the same code serves devices and machines.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import keras

from unet_edge.errors import ConfigError


@dataclass(frozen=True)
class Machines:
    """The processes of one run: the first one's HOST:PORT, their number, and this one's index."""

    coordinator: str
    processes: int
    process: int

    def __post_init__(self) -> None:
        if self.processes < 1 or not 0 <= self.process < self.processes:
            raise ConfigError(
                f"this is process {self.process} of {self.processes}",
                expected="expected 0 to one below the number of processes, which is at least 1",
            )
        host, _, port = self.coordinator.rpartition(":")
        if not host or not port.isdigit():
            raise ConfigError(
                f"the coordinator is {self.coordinator!r}", expected="expected HOST:PORT"
            )


def join(machines: Machines) -> None:
    """Connect to the other processes. Call it before any other use of Keras or JAX.

    Raises ConfigError if the Keras backend is not JAX, or if the connection fails.
    """
    _require_jax("several processes")
    try:
        keras.distribution.initialize(
            job_addresses=machines.coordinator,
            num_processes=machines.processes,
            process_id=machines.process,
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"process {machines.process} cannot connect to {machines.coordinator}: {reason}"
        ) from error


@contextmanager
def data_parallel() -> Iterator[int]:
    """Share batches among all devices of all processes, and yield the number of devices.

    Changes nothing for one device, or for a backend other than JAX.
    """
    devices = 1 if keras.backend.backend() != "jax" else len(keras.distribution.list_devices())
    if devices == 1:
        yield 1
        return
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    try:
        yield devices
    finally:
        keras.distribution.set_distribution(None)


@contextmanager
def undistributed() -> Iterator[None]:
    """Suspend the distribution, to run a local model during a distributed run."""
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(distribution)


def part_of(machines: Machines | None, batch_size: int) -> slice:
    """The samples of a batch that this process draws. Raises ConfigError for unequal parts."""
    if machines is None:
        return slice(0, batch_size)
    if batch_size % machines.processes:
        raise ConfigError(
            f"a batch of {batch_size} cannot be shared evenly by {machines.processes} processes",
            fix=f"choose a multiple of {machines.processes} as --batch-size",
        )
    share = batch_size // machines.processes
    return slice(machines.process * share, (machines.process + 1) * share)


def _require_jax(feature: str) -> None:
    if keras.backend.backend() != "jax":
        raise ConfigError(
            f"the Keras backend is {keras.backend.backend()}",
            expected=f"{feature} need JAX",
            fix="set KERAS_BACKEND=jax",
        )
