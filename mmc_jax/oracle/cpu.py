"""The kernels in C++ on the CPU, through XLA's foreign function interface.

M models, X texts, S and R subsets.

`native/` holds the source and setup.py compiles it at install; the contract is
in kernels.py. The best instructions of the machine are chosen at run time
(`levels()`), and the threads are those of XLA's own pool. Two environment
variables, read when a kernel is traced, overrule that:

- MMC_ORACLE_CPU_LEVEL: the name of a level;
- MMC_ORACLE_CPU_THREADS: the number of threads, up to 1,024; 0 for all.

Whole numbers (uint32) are summed exactly, modulo 2^64, and take no weights. The
sum of a subset and a model depends on their texts alone: not on S, M, the place
in the batch or the number of threads.
"""

import ctypes
import functools
import importlib.machinery
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

_SUMS = {
    "float32": np.float32,
    "float64": np.float64,
    "uint32": np.int64,
}

# As in native/dispatch.h and native/dispatch.cc.
_MOST_THREADS = 1024
_INTERFACE = 3


def supports(dtype: jnp.dtype) -> bool:
    """Returns whether the kernels take losses of that dtype."""
    return np.dtype(dtype).name in _SUMS


def why_not() -> str | None:
    """Returns why the kernels cannot run here, None where they can."""
    try:
        _library()
    except _UnusableLibraryError as error:
        return str(error)
    return None


def levels() -> list[str]:
    """Returns the names of the levels that this machine has, the best first."""
    names = []
    while name := _library().mmc_level(len(names)):
        names.append(name.decode())
    return names


def min_adds_per_second(
    level: str = "", num_threads: int | None = None, seconds: float = 0.2
) -> float:
    """Returns how fast minima are taken and added up in registers alone.

    The roofline of `min_sum` in float32: pairs (value, loss) a second, by the
    instructions that it takes for numbers from 0 on, none waiting for another.

    Args:
      level: Instructions to measure, one of `levels()`; the best if empty.
      num_threads: Number of threads, 1 to 1,024; one for each core if left out.
      seconds: Time to measure, in seconds.

    Raises:
      ValueError: A level that this machine does not have; another number of
        threads.
    """
    _check_level(level)
    if num_threads is None:
        num_threads = min(os.cpu_count() or 1, _MOST_THREADS)
    if not 1 <= num_threads <= _MOST_THREADS:
        raise ValueError(
            f"num_threads is {num_threads}; 1 to {_MOST_THREADS:,} is needed."
        )
    return _library().mmc_min_adds_per_second(
        level.encode(), num_threads, seconds
    )


def oracle_sums(
    losses: jax.Array, masks: jax.Array, weights: jax.Array | None
) -> jax.Array:
    """Returns sum over x of w_x min_{i in S} L_ix: [S]."""
    return _oracle_sums(losses, masks, weights, *_settings())


def min_sum(
    values: jax.Array, losses: jax.Array, weights: jax.Array | None
) -> jax.Array:
    """Returns sum over x of w_x min(V_sx, L_mx): [S, M]."""
    return _min_sum(values, losses, weights, *_settings())


def union_sums(
    losses: jax.Array,
    masks: jax.Array,
    others: jax.Array,
    weights: jax.Array | None,
) -> jax.Array:
    """Returns sum over x of w_x min_{i in S or R} L_ix: [S, R]."""
    return _union_sums(losses, masks, others, weights, *_settings())


def mixture_sums(
    nll_nats: jax.Array,
    masks: jax.Array,
    log_weights: jax.Array,
    shares: jax.Array,
) -> jax.Array:
    """Returns the sum over texts of share times loss of each mixture: [S].

    All is computed in float64. The sum of a subset depends on its models alone.

    Args:
      nll_nats: Negative log-likelihood of each text under each model, in nats,
        [M, X], no NaN; float32 or float64.
      masks: Members of each subset, [S, M]. A row without a model of a weight
        above 0 has the sum infinity or NaN.
      log_weights: Logarithm of each model's prior weight, [M], the largest 0.
      shares: What each text's loss is multiplied by, [X].
    """
    return _mixture_sums(nll_nats, masks, log_weights, shares, *_settings())


@functools.partial(jax.jit, static_argnames=("level", "num_threads"))
def _mixture_sums(nll_nats, masks, log_weights, shares, level, num_threads):
    call = _call(
        "mmc_mixture_sums", masks.shape[:1], nll_nats.dtype, level, num_threads
    )
    return call(nll_nats, masks, log_weights, shares)


@functools.partial(jax.jit, static_argnames=("level", "num_threads"))
def _oracle_sums(losses, masks, weights, level, num_threads):
    return _call(
        "mmc_oracle_sums", masks.shape[:1], losses.dtype, level, num_threads
    )(losses, masks, _given(weights, losses.dtype))


@functools.partial(jax.jit, static_argnames=("level", "num_threads"))
def _min_sum(values, losses, weights, level, num_threads):
    shape = (values.shape[0], losses.shape[0])
    return _call("mmc_min_sum", shape, losses.dtype, level, num_threads)(
        values, losses, _given(weights, losses.dtype)
    )


@functools.partial(jax.jit, static_argnames=("level", "num_threads"))
def _union_sums(losses, masks, others, weights, level, num_threads):
    shape = (masks.shape[0], others.shape[0])
    return _call("mmc_union_sums", shape, losses.dtype, level, num_threads)(
        losses, masks, others, _given(weights, losses.dtype)
    )


def _call(name, shape, dtype, level, num_threads):
    """Returns the foreign function on arrays, with its settings filled in."""
    _library()
    out = np.dtype(_SUMS[dtype.name])
    if jax.dtypes.canonicalize_dtype(out) != out:
        raise ValueError(
            f"sums of {dtype} are {out}, which JAX has in 64-bit mode alone: "
            "call under jax.enable_x64(True)."
        )
    call = jax.ffi.ffi_call(
        name, jax.ShapeDtypeStruct(shape, out), vmap_method="sequential"
    )
    return functools.partial(call, level=level, num_threads=num_threads)


def _given(weights: jax.Array | None, dtype: jnp.dtype) -> jax.Array:
    """Returns the weights [X] in the dtype; [0] stands for none."""
    return jnp.zeros(0, dtype) if weights is None else weights.astype(dtype)


def _settings() -> tuple[str, np.int64]:
    """Returns the level, "" for the best, and the threads, 0 for XLA's own."""
    level = os.environ.get("MMC_ORACLE_CPU_LEVEL", "")
    _check_level(level)
    # An empty variable is none.
    text = os.environ.get("MMC_ORACLE_CPU_THREADS") or "0"
    if not text.isdecimal() or int(text) > _MOST_THREADS:
        raise ValueError(
            f"MMC_ORACLE_CPU_THREADS is {text!r}; a whole number up to "
            f"{_MOST_THREADS:,} is needed, 0 for all."
        )
    return level, np.int64(int(text))


def _check_level(level: str) -> None:
    if level and level not in levels():
        raise ValueError(
            f"level {level!r} is none that this machine has: "
            f"{', '.join(levels())}."
        )


class _UnusableLibraryError(Exception):
    """Why there is no library, in a sentence."""


@functools.cache
def _library() -> ctypes.CDLL:
    """Returns the compiled library, its kernels registered with XLA."""
    folder = pathlib.Path(__file__).parent
    paths = [
        folder / f"_native{suffix}"
        for suffix in importlib.machinery.EXTENSION_SUFFIXES
    ]
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        raise _UnusableLibraryError(
            "the C++ kernels were not compiled when mmc_jax was installed"
        )
    try:
        library = ctypes.CDLL(str(path))
        # A library of before a change of the sources may lack the function.
        interface = getattr(library, "mmc_interface", lambda: 1)()
        if interface != _INTERFACE:
            raise ImportError("compiled from other sources than these")
        for name in (
            "mmc_min_sum",
            "mmc_oracle_sums",
            "mmc_union_sums",
            "mmc_mixture_sums",
        ):
            handler = jax.ffi.pycapsule(getattr(library, name))
            jax.ffi.register_ffi_target(name, handler, platform="cpu")
    # Compiled for another machine, or another jaxlib.
    except (
        OSError,
        AttributeError,
        ImportError,
        RuntimeError,
        ValueError,
    ) as error:
        raise _UnusableLibraryError(
            f"the C++ kernels in {path.name} do not load ({error}): install "
            "mmc_jax again"
        ) from error
    library.mmc_level.restype = ctypes.c_char_p
    library.mmc_level.argtypes = [ctypes.c_int]
    library.mmc_min_adds_per_second.restype = ctypes.c_double
    library.mmc_min_adds_per_second.argtypes = [
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_double,
    ]
    return library
