"""The arguments of the kernels, checked: the contract is in kernels.py.

M models, X texts, S subsets.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

_FLOATS = (np.float32, np.float64)
_INTEGERS = (np.uint32,)


def is_known(array: ArrayLike | None) -> bool:
    """Returns whether the values can be looked at now, on this host."""
    if isinstance(array, jax.core.Tracer):
        return False
    if isinstance(array, jax.Array):
        return array.is_fully_addressable
    return array is not None


def _is_on_host(array: jax.Array | np.ndarray) -> bool:
    """Returns whether NumPy can look at a known array without a transfer."""
    return not isinstance(array, jax.Array) or all(
        device.platform == "cpu" for device in array.devices()
    )


def checked_subsets(
    losses: ArrayLike,
    masks: ArrayLike,
    weights: ArrayLike | None,
    name: str = "losses",
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Returns losses [M, X], masks [S, M] and weights [X], refused if wrong."""
    losses = checked_table(name, losses, "model")
    check_values(name, losses, "model")
    masks = checked_masks("masks", masks, losses)
    losses = jnp.asarray(losses)
    return losses, masks, checked_weights(weights, losses)


def checked_masks(
    name: str, masks: ArrayLike, losses: jax.Array | np.ndarray
) -> jax.Array:
    """Returns the masks [S, M] with a column for each row of losses."""
    if not isinstance(masks, jax.Array):
        masks = np.asarray(masks)
    if masks.dtype == bool and is_known(masks) and _is_on_host(masks):
        # A byte of a NumPy array viewed as bool, or read from a damaged file,
        # may be neither 0 nor 1: then it is a member, for every backend.
        host = np.asarray(masks).view(np.uint8)
        if (host > 1).any():
            masks = host != 0
    if masks.ndim != 2 or masks.shape[1] != losses.shape[0]:
        raise ValueError(
            f"{name} has shape {masks.shape}; [S, {losses.shape[0]}] is "
            "needed, a column for each row of losses."
        )
    if masks.dtype != bool:
        raise ValueError(f"{name} has dtype {masks.dtype}; bool is needed.")
    return jnp.asarray(masks)


def checked_table(
    name: str, table: ArrayLike, row: str
) -> jax.Array | np.ndarray:
    """Returns the table [rows, X]; what a row is (a model) goes into errors.

    Under `jit` JAX turns a known array into a tracer: it stays NumPy's here.
    """
    if not isinstance(table, jax.Array):
        table = np.asarray(table)
    if table.ndim != 2:
        raise ValueError(
            f"{name} has shape {table.shape}; a row for each {row} and a "
            "column for each text is needed."
        )
    if row == "model" and table.shape[0] == 0:
        raise ValueError(f"{name} [M, X] has no models.")
    if table.dtype not in _FLOATS + _INTEGERS:
        raise ValueError(
            f"{name} has dtype {table.dtype}; float32 or float64 is needed, or "
            "uint32 (oracle.quantised)."
        )
    if table.dtype in _INTEGERS and not jax.config.jax_enable_x64:
        raise ValueError(
            f"{name} has dtype {table.dtype}, whose sums are int64: call under "
            "jax.enable_x64(True)."
        )
    return table


def check_values(name: str, table: jax.Array | np.ndarray, row: str) -> None:
    """Raises where a known table holds NaN or -inf."""
    if table.dtype in _INTEGERS or not is_known(table) or not table.size:
        return
    # One pass, on the device where the table lies, without a copy; NaN wins it.
    if _is_on_host(table):
        table = np.asarray(table)
    if not float(table.min()) > -np.inf:
        host = np.asarray(table)
        i, x = np.argwhere(~(host > -np.inf))[0]
        raise ValueError(
            f"{name}[{i}, {x}] ({row} {i}, text {x}) is {host[i, x]}."
        )


def checked_weights(
    weights: ArrayLike | None, losses: jax.Array
) -> jax.Array | None:
    """Returns the weights [X] in the dtype of the losses."""
    if weights is None:
        return None
    if losses.dtype in _INTEGERS:
        raise ValueError(
            f"losses of {losses.dtype} take no weights: multiply the losses by "
            "them before oracle.quantised."
        )
    weights = _row("weights", weights, losses.shape[1], "text")
    if is_known(weights):
        host = np.asarray(weights)
        bad = ~((host >= 0) & (host < np.inf))
        if bad.any():
            x = int(bad.argmax())
            raise ValueError(
                f"weights[{x}] is {host[x]}; finite and not negative is needed."
            )
    return jnp.asarray(weights).astype(losses.dtype)


def check_mean(losses: jax.Array, weights: ArrayLike | None) -> None:
    """Raises where a mean over the texts of losses [M, X] is undefined."""
    if losses.shape[1] == 0:
        raise ValueError("losses [M, X] has no texts: a mean needs one.")
    if is_known(weights) and not np.asarray(weights).any():
        raise ValueError("weights are all 0: their mean is undefined.")


def checked_log_weights(
    log_weights: ArrayLike, num_models: int
) -> jax.Array | np.ndarray:
    """Returns logarithms of the models' prior weights, [M]."""
    log_weights = _row("log_weights", log_weights, num_models, "model")
    if is_known(log_weights):
        host = np.asarray(log_weights)
        bad = ~(host < np.inf)
        if bad.any():
            i = int(bad.argmax())
            raise ValueError(f"log_weights[{i}] is {host[i]}.")
        if np.isneginf(host).all():
            raise ValueError("log_weights: no model has a weight above 0.")
    return log_weights


def checked_lengths(
    lengths: ArrayLike, num_texts: int
) -> jax.Array | np.ndarray:
    """Returns what the losses of the texts are divided by, [X]."""
    lengths = _row("lengths", lengths, num_texts, "text")
    if is_known(lengths):
        host = np.asarray(lengths)
        bad = ~((host > 0) & (host < np.inf))
        if bad.any():
            x = int(bad.argmax())
            raise ValueError(
                f"lengths[{x}] is {host[x]}; finite and above 0 is needed."
            )
    return lengths


def _row(
    name: str, values: ArrayLike, size: int, of_each: str
) -> jax.Array | np.ndarray:
    """Returns values, one for each text or model, with their shape checked."""
    if not isinstance(values, jax.Array):
        values = np.asarray(values)
    if values.shape != (size,):
        raise ValueError(
            f"{name} has shape {values.shape}; ({size},) is needed, one for "
            f"each {of_each}."
        )
    return values
