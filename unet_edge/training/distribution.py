"""Several GPUs and several machines: one batch, shared out by Keras' distribution API on JAX.

Chosen over TensorFlow's strategies because the same few lines serve devices and machines, the
batch stays one batch (BatchNorm sees all of it, so the result is that of one device), and JAX
compiles it into one program. The part batches of the processes join to the global one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import keras

from unet_edge.errors import ConfigError


@dataclass(frozen=True)
class Machines:
    """The processes of one run: the first one's HOST:PORT, how many, and which one this is."""

    coordinator: str
    processes: int
    process: int

    def __post_init__(self) -> None:
        if self.processes < 1 or not 0 <= self.process < self.processes:
            raise ConfigError(
                f"process {self.process} of {self.processes}: they count from 0 to one below"
            )
        host, _, port = self.coordinator.rpartition(":")
        if not host or not port.isdigit():
            raise ConfigError(f"coordinator {self.coordinator!r} is not HOST:PORT")


def join(machines: Machines) -> None:
    """Meet the other processes; before anything else touches Keras or JAX.

    Raises ConfigError when the Keras backend is not JAX, or the others cannot be met.
    """
    _require_jax("several processes")
    try:
        keras.distribution.initialize(
            job_addresses=machines.coordinator,
            num_processes=machines.processes,
            process_id=machines.process,
        )
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"process {machines.process} could not meet the others at {machines.coordinator}: "
            f"{str(error).splitlines()[0]}"
        ) from error


@contextmanager
def data_parallel() -> Iterator[int]:
    """Share batches out among all devices of all processes; yields how many there are.

    One device, or a backend other than JAX: everything stays as it is.
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
    """Run another, local model in the middle of a distributed run."""
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(distribution)


def part_of(machines: Machines | None, batch_size: int) -> slice:
    """Which samples of a batch this process draws; ConfigError when they do not divide."""
    if machines is None:
        return slice(0, batch_size)
    if batch_size % machines.processes:
        raise ConfigError(
            f"a batch of {batch_size} cannot be shared evenly by {machines.processes} processes"
        )
    share = batch_size // machines.processes
    return slice(machines.process * share, (machines.process + 1) * share)


def _require_jax(what: str) -> None:
    if keras.backend.backend() != "jax":
        raise ConfigError(
            f"{what} need the JAX backend, this is {keras.backend.backend()}: set KERAS_BACKEND=jax"
        )
