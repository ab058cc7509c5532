"""The device's side of scoring. B batch, T position."""

import collections
from collections.abc import Iterable, Iterator

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from mmc_jax.models import layers, sharding
from mmc_jax.scoring import batching, likelihood
from mmc_jax.scoring.settings import Settings

# Batches that the device has been given and whose scores are not fetched yet:
# it works on one, and the next is there when that one is done.
_IN_FLIGHT = 2

# Token budgets of a batch. What a CPU works on should fit in its last cache:
# GPT-2 124M takes 1.25 times as long with 8,192 tokens.
_TOKENS_PER_BATCH = 8192
_TOKENS_PER_BATCH_ON_CPU = 2048


def mesh(settings: Settings) -> Mesh:
    """Returns the devices that score: this process's own if they are enough.

    Raises:
      ValueError: There are not so many as the settings ask for.
    """
    devices = jax.local_devices()
    if (settings.num_data or 1) * settings.num_model > len(devices):
        devices = jax.devices()
    return sharding.mesh(settings.num_data, settings.num_model, devices)


def tokens_per_batch(settings: Settings) -> int:
    """Returns the token budget of a batch, for each device of its rows."""
    if settings.tokens_per_batch is not None:
        return settings.tokens_per_batch
    on_cpu = jax.default_backend() == "cpu"
    return _TOKENS_PER_BATCH_ON_CPU if on_cpu else _TOKENS_PER_BATCH


def spans_processes(mesh: Mesh) -> bool:
    """Returns whether some of the devices are another process's."""
    return mesh.devices.size > len(mesh.local_devices)


class Scorer:
    """A model on its devices: batches in, their nll out, a few batches later.

    Batches are spread over the mesh's axis `data`. Where a batch of some bucket
    does not fit in memory it is scored again in halves, and so is whatever
    comes after it in that bucket.

    Attributes:
      num_data: Devices that a batch is spread over: what divides its rows.
      spans_processes: Whether all processes have to score the same batches.
    """

    def __init__(self, network: layers.LanguageModel, mesh: Mesh):
        """Nothing is compiled yet.

        Args:
          network: Its parameters are on the mesh's devices.
          mesh: With the axes `data` and `model`.
        """
        self._network = network
        self.num_data = mesh.shape["data"]
        self._rows_over_data = NamedSharding(mesh, P("data"))
        self.spans_processes = spans_processes(mesh)
        # A process sees only what its own devices have.
        self._token_nll = jax.jit(
            likelihood.token_nll,
            out_shardings=NamedSharding(
                mesh, P() if self.spans_processes else P("data")
            ),
        )
        # Rows that fit in memory, of the buckets where a full batch did not.
        self._num_rows: dict[int, int] = {}

    def scored(
        self, all_batches: Iterable[batching.Batch]
    ) -> Iterator[tuple[batching.Batch, np.ndarray]]:
        """Yields each batch, or parts of it, with its nll: float32 [B, T].

        Raises:
          MemoryError: A batch with one row a device does not fit, or any batch
            where the mesh spans processes.
        """
        in_flight = collections.deque()
        for batch in all_batches:
            for part in self._parts(batch):
                in_flight.append((part, self._started(part)))
                if len(in_flight) > _IN_FLIGHT:
                    yield from self._fetched(*in_flight.popleft())
        while in_flight:
            yield from self._fetched(*in_flight.popleft())

    def _parts(self, batch: batching.Batch) -> Iterable[batching.Batch]:
        """Returns the batch in parts of as many rows as fit."""
        num_rows, length = batch.inputs.shape
        fits = min(num_rows, self._num_rows.get(length, num_rows))
        return [batch] if fits == num_rows else batch.split(fits)

    def _started(
        self, batch: batching.Batch
    ) -> jax.Array | jax.errors.JaxRuntimeError:
        """Returns what will be the batch's nll, or that memory is short."""
        try:
            inputs, targets = (
                jax.make_array_from_process_local_data(
                    self._rows_over_data, tokens, tokens.shape
                )
                for tokens in (batch.inputs, batch.targets)
            )
            nll = self._token_nll(self._network, inputs, targets)
        except jax.errors.JaxRuntimeError as error:
            return _if_out_of_memory(error)
        nll.copy_to_host_async()
        return nll

    def _fetched(
        self,
        batch: batching.Batch,
        nll: jax.Array | jax.errors.JaxRuntimeError,
    ) -> Iterator[tuple[batching.Batch, np.ndarray]]:
        """Yields the batch with its nll, or where memory is short its parts."""
        if isinstance(nll, jax.Array):
            try:
                values = np.asarray(nll)
            except jax.errors.JaxRuntimeError as error:
                nll = _if_out_of_memory(error)
            else:
                yield batch, values
                return
        self._halve(batch, nll)
        for part in self._parts(batch):
            yield from self._fetched(part, self._started(part))

    def _halve(
        self, batch: batching.Batch, error: jax.errors.JaxRuntimeError
    ) -> None:
        """Notes that a batch of this shape does not fit."""
        num_rows, length = batch.inputs.shape
        what_to_do = "use more devices for the model, or a smaller max_context"
        if self.spans_processes:
            # Others may have had the memory: all would have to know.
            what_to_do += ", or fewer tokens_per_batch"
        elif num_rows > self.num_data:
            share = num_rows // self.num_data
            fits = self.num_data * (share // 2)
            # Another batch that was in flight may have said so before.
            self._num_rows[length] = min(fits, self._num_rows.get(length, fits))
            return
        raise MemoryError(
            f"bucket of {length} tokens: a batch of {num_rows} rows on "
            f"{self.num_data} devices does not fit in memory: "
            f"{str(error).splitlines()[0]}; {what_to_do}"
        ) from error


def _if_out_of_memory(
    error: jax.errors.JaxRuntimeError,
) -> jax.errors.JaxRuntimeError:
    """Returns the error if memory is short, without the frames that use it."""
    if "RESOURCE_EXHAUSTED" not in str(error):
        raise error
    return error.with_traceback(None)
