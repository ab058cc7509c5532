"""The device's side of scoring. B batch, T position."""

import collections
import functools
import threading
from collections.abc import Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from mmc_jax.models import layers
from mmc_jax.scoring import batching, likelihood
from mmc_jax.scoring.settings import Settings

# Batches that the device has been given and whose scores are not fetched yet:
# it works on one, and the next is there when that one is done.
_IN_FLIGHT = 2

# Token budgets of a batch. What a CPU works on should fit in its last cache:
# GPT-2 124M takes 1.25 times as long with 8,192 tokens.
_TOKENS_PER_BATCH = 8192
_TOKENS_PER_BATCH_ON_CPU = 2048

# FLOPs in the time that a program takes to be traced and compiled: about 1.2
# seconds at 50 GFLOP/s on a CPU, 10 seconds at 10 TFLOP/s elsewhere.
_FLOPS_PER_PROGRAM = 1e14
_FLOPS_PER_PROGRAM_ON_CPU = 6e10


def tokens_per_batch(settings: Settings) -> int:
    """Returns the token budget of a batch, for each device of its rows."""
    if settings.tokens_per_batch is not None:
        return settings.tokens_per_batch
    on_cpu = jax.default_backend() == "cpu"
    return _TOKENS_PER_BATCH_ON_CPU if on_cpu else _TOKENS_PER_BATCH


def spans_processes(mesh: Mesh) -> bool:
    """Returns whether some of the devices are another process's."""
    return mesh.devices.size > len(mesh.local_devices)


def flops_per_program() -> float:
    """Returns the FLOPs that take about as long as compiling a program."""
    on_cpu = jax.default_backend() == "cpu"
    return _FLOPS_PER_PROGRAM_ON_CPU if on_cpu else _FLOPS_PER_PROGRAM


class Programs:
    """The compiled likelihoods of models of one structure, by batch shape.

    Several threads may use them.
    """

    def __init__(self, structure: layers.LanguageModel, mesh: Mesh):
        """Nothing is compiled yet.

        Args:
          structure: Any model of the structure; its values are not kept.
          mesh: Devices with the axes `data` and `model`.
        """
        treedef = jax.tree.structure(structure)
        self._rows_over_data = NamedSharding(mesh, P("data"))

        def token_nll(leaves, inputs, targets):
            model = jax.tree.unflatten(treedef, leaves)
            return likelihood.token_nll(model, inputs, targets)

        # A process sees only what its own devices have.
        rows = P() if spans_processes(mesh) else P("data")
        self._jitted = jax.jit(
            token_nll, out_shardings=NamedSharding(mesh, rows)
        )
        self._compiled: dict[tuple[int, int], jax.stages.Compiled] = {}
        self._compiling = threading.Lock()

    def compile(
        self, abstract: layers.LanguageModel, shape: tuple[int, int]
    ) -> None:
        """Compiles the program of a batch shape [B, T], before it is needed.

        Args:
          abstract: A model of the structure, from `shapes.abstract`.
          shape: Rows B and tokens T of the batches.
        """
        tokens = jax.ShapeDtypeStruct(
            shape, jnp.int32, sharding=self._rows_over_data
        )
        with self._compiling:
            if shape not in self._compiled:
                leaves = jax.tree.leaves(abstract)
                lowered = self._jitted.lower(leaves, tokens, tokens)
                self._compiled[shape] = lowered.compile()

    def token_nll(
        self, leaves: list[jax.Array], inputs: np.ndarray, targets: np.ndarray
    ) -> jax.Array:
        """Returns `likelihood.token_nll`, [B, T], of a model's leaves."""
        program = self._compiled.get(inputs.shape, self._jitted)
        tokens = (
            jax.make_array_from_process_local_data(
                self._rows_over_data, each, each.shape
            )
            for each in (inputs, targets)
        )
        return program(leaves, *tokens)


# Models of equal structure may be prepared at the same time.
_LOOKED_UP = threading.Lock()


# Models of a few structures often take turns in a pool.
@functools.lru_cache(maxsize=16)
def _programs(structure: "_Structure", mesh: Mesh) -> Programs:
    return Programs(structure.model, mesh)


class _Structure:
    """Equal for models of equal types, configs and dtypes."""

    def __init__(self, model: layers.LanguageModel):
        self.model = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), model
        )
        config = model.config.to_dict()
        config.pop("_name_or_path", None)
        shapes = [(x.shape, str(x.dtype)) for x in jax.tree.leaves(self.model)]
        self._key = type(model), repr((config, shapes))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Structure) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


def programs(model: layers.LanguageModel, mesh: Mesh) -> Programs:
    """Returns the programs of a model; those of equal structure share them.

    Args:
      model: A model, or an abstract one from `shapes.abstract`.
      mesh: Devices with the axes `data` and `model`.
    """
    with _LOOKED_UP:
        return _programs(_Structure(model), mesh)


class Scorer:
    """A model on its devices: batches in, their nll out, a few batches later.

    Batches are spread over the mesh's axis `data`. Where a batch of some bucket
    does not fit in memory it is scored again in halves, and so is whatever
    comes after it in that bucket.

    Attributes:
      num_data: Devices that a batch is spread over: what divides its rows.
      spans_processes: Whether all processes have to score the same batches.
    """

    def __init__(
        self,
        network: layers.LanguageModel,
        mesh: Mesh,
        programs: Programs | None = None,
    ):
        """Nothing is compiled here.

        Args:
          network: A model whose parameters are on the mesh's devices.
          mesh: Devices with the axes `data` and `model`.
          programs: Programs of the model's structure and the mesh; new ones for
            None.
        """
        self._leaves = jax.tree.leaves(network)
        self._programs = programs or Programs(network, mesh)
        self.num_data = mesh.shape["data"]
        self.spans_processes = spans_processes(mesh)
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
            nll = self._programs.token_nll(
                self._leaves, batch.inputs, batch.targets
            )
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
