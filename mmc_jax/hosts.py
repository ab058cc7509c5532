"""Several processes, one or more a machine, that share one piece of work."""

import contextlib
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax

# The key-value store and the barriers of JAX's coordination service have no
# public name. Device collectives are no replacement: they give up on a process
# that is an hour behind.
from jax._src import distributed

from mmc_jax import disk

# Longer than any run. If a process dies, its missing heartbeats end the wait of
# the others.
_WAIT_MS = 10**10

_Value = TypeVar("_Value")
_meetings = itertools.count()


class HostError(ConnectionError):
    """Another process is gone."""


def initialize(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    heartbeat_seconds: int = 100,
) -> None:
    """Makes this process one of several.

    Must be called before anything else of JAX. Arguments that are None are
    taken from the environment: Slurm, Open MPI, Kubernetes, Cloud TPU, or
    JAX_COORDINATOR_ADDRESS.

    Args:
      coordinator_address: Host and port where process 0 can be reached.
      num_processes: Number of processes.
      process_id: Number of this process, from 0.
      heartbeat_seconds: Seconds of silence after which a process counts as gone
        and all others are ended.

    Raises:
      ValueError: An argument is None and the environment does not tell it; an
        id that is not below the number of processes.
    """
    # JAX's service takes SIGTERM for itself, tells those who ask for it, and
    # goes on: a scheduler would have to kill the run.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            coordinator_address,
            num_processes,
            process_id,
            heartbeat_timeout_seconds=heartbeat_seconds,
            # To wait longer for a process that is gone would not help.
            shutdown_timeout_seconds=heartbeat_seconds,
        )
    except ValueError as error:
        raise ValueError(
            f"several processes: {error} Give coordinator_address, "
            "num_processes and process_id, or start under Slurm, Open MPI or "
            "on a TPU pod"
        ) from error


def is_first() -> bool:
    """Returns whether this is the process that writes what is written once."""
    return jax.process_index() == 0


def all_values(value: Any) -> list[Any]:
    """Returns the value of each process, once all have called this.

    Args:
      value: Any value that JSON can hold.

    Raises:
      HostError: A process is gone.
    """
    num_processes = jax.process_count()
    if num_processes == 1:
        return [value]
    client = distributed.global_state.client
    # All processes meet in the same order.
    meeting = f"mmc_jax/{next(_meetings)}"
    try:
        client.key_value_set(
            f"{meeting}/{jax.process_index()}", json.dumps(value)
        )
        client.wait_at_barrier(meeting, _WAIT_MS)
        return [
            json.loads(
                client.blocking_key_value_get(f"{meeting}/{p}", _WAIT_MS)
            )
            for p in range(num_processes)
        ]
    except jax.errors.JaxRuntimeError as error:
        raise HostError(
            f"process {jax.process_index()} of {num_processes}: another "
            "process is gone; what is finished is kept: start all of them "
            f"again ({str(error).splitlines()[0]})"
        ) from error


@contextlib.contextmanager
def together() -> Iterator[None]:
    """A stage that ends on all processes at once, or fails on all of them.

    Raises:
      HostError: A process is gone.
      OSError: Another process has no room on its disk.
      RuntimeError: The stage failed on another process.
    """
    failure = None
    try:
        yield
    except Exception as error:
        failure = error
    told = None
    if failure is not None:
        number = getattr(failure, "errno", None)
        told = [f"{type(failure).__name__}: {failure}", number]
    others = all_values(told)
    if failure is not None:
        raise failure
    for process, told in enumerate(others):
        if told is not None:
            text, number = told
            if number in disk.FULL:
                raise OSError(number, f"process {process}: {text}")
            raise RuntimeError(f"process {process}: {text}")


def of_first(value: Callable[[], _Value]) -> _Value:
    """Returns what a function gives on process 0, which alone calls it.

    Args:
      value: Function whose result JSON can hold.

    Raises:
      Exception: What the function raises, on process 0.
      RuntimeError: The same, on the others.
    """
    values = [None]
    with together():
        if is_first():
            values[0] = value()
    return all_values(values[0])[0]
