"""Rotary positions: angles of every published kind, and both layouts.

B batch, T position, N heads, H head features, R rotated features of a head, L
layers.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# The parameters of each kind beside the common ones: those that it needs, and
# those that it may have. transformers reads no others of that kind.
_PARAMETERS = {
    "default": ((), ()),
    "linear": (("factor",), ()),
    "dynamic": (("factor",), ("original_max_position_embeddings",)),
    "llama3": (
        (
            "factor",
            "low_freq_factor",
            "high_freq_factor",
            "original_max_position_embeddings",
        ),
        (),
    ),
    "yarn": (
        ("factor", "original_max_position_embeddings"),
        (
            "attention_factor",
            "beta_fast",
            "beta_slow",
            "mscale",
            "mscale_all_dim",
            "truncate",
        ),
    ),
    "longrope": (
        ("short_factor", "long_factor", "original_max_position_embeddings"),
        ("attention_factor", "factor"),
    ),
    "proportional": ((), ("factor",)),
}
# `type` is the old name of rope_type, which transformers copies.
_COMMON = (
    *("rope_type", "type", "rope_theta", "partial_rotary_factor"),
    # How images share the features of a head; on text all axes are one.
    *("mrope_interleaved", "mrope_section"),
)


class Rotary(NamedTuple):
    """How the heads of a model turn.

    Attributes:
      frequencies: The angle of one position step, float32 [R / 2].
      scale: Factor of cosine and sine.
      max_positions: Largest number of positions for which the angles do not
        depend on the length of the text; None where they never do.
    """

    frequencies: jax.Array
    scale: float | jax.Array = 1.0
    max_positions: int | None = None


def rotary_positions(
    rope_parameters: dict[str, Any],
    head_dim: int,
    max_positions: int,
    *,
    partial: bool = False,
) -> Rotary:
    """Returns the rotary positions that a config asks for.

    theta_i = base^(-2i / R), R = head_dim * partial_rotary_factor, and then by
    `rope_type`: `linear` divides all angles by a factor (Chen et al., arXiv
    2306.15595); `dynamic` is the default up to the native context, beyond which
    it would depend on the text's length and is refused; `llama3` divides only
    the angles of wavelengths that the original context never saw whole (Llama
    3.1's release); `yarn` those below a number of turns, and scales the scores
    (Peng et al., arXiv 2309.00071); `longrope` divides each by a factor of its
    own (Ding et al., arXiv 2402.13753), the long factors being refused as
    beyond the original context.

    Args:
      rope_parameters: The attribute of that name in Hugging Face's config.
      head_dim: Features of a head.
      max_positions: The config's `max_position_embeddings`.
      partial: Whether the family turns only a share of each head where the
        config says so; transformers turns whole heads of the others.

    Raises:
      ValueError: A kind or a parameter of it is not ported, or one is missing.

    Source: RoFormer, Su et al., arXiv 2104.09864, eq. 15, and those above.
    """
    kind = rope_parameters["rope_type"]
    if kind not in _PARAMETERS:
        raise ValueError(
            f"rope_parameters: rope_type {kind!r} is not ported; ported are "
            f"{', '.join(_PARAMETERS)}"
        )
    old_name = rope_parameters.get("type", kind)
    if old_name in _PARAMETERS and old_name != kind:
        raise ValueError(
            f"rope_parameters: type {old_name!r}, but rope_type {kind!r}"
        )
    needed, _ = _PARAMETERS[kind]
    for name in needed:
        if rope_parameters.get(name) is None:
            raise ValueError(
                f"rope_parameters: rope_type {kind!r} needs {name!r}"
            )
    for name in ("rope_theta", "factor"):
        value = rope_parameters.get(name)
        if isinstance(value, int | float) and not value > 0:
            raise ValueError(f"rope_parameters: {name}={value} is not positive")
    share = rope_parameters.get("partial_rotary_factor", 1.0)
    if kind == "proportional":
        return _proportional(rope_parameters, head_dim, share)
    if share != 1.0 and not partial:
        raise ValueError(
            f"rope_parameters: partial_rotary_factor={share} is not ported"
        )
    rotated = int(head_dim * share)
    steps = np.arange(0, rotated, 2, dtype=np.float32) / np.float32(rotated)
    base = rope_parameters["rope_theta"]
    frequencies = 1 / jnp.power(jnp.float32(base), steps)
    if kind == "linear":
        return Rotary(frequencies / rope_parameters["factor"])
    if kind == "dynamic":
        return Rotary(frequencies, max_positions=max_positions)
    if kind == "llama3":
        return Rotary(_llama3(frequencies, **_given(rope_parameters)))
    if kind == "yarn":
        return _yarn(frequencies, base, **_given(rope_parameters))
    if kind == "longrope":
        return _longrope(frequencies, max_positions, **_given(rope_parameters))
    return Rotary(frequencies)


def rotary_by_layer(
    rope_parameters: dict[str, dict[str, Any]],
    layer_types: Sequence[str],
    head_dim: int,
    max_positions: int,
) -> Rotary:
    """Returns the rotary positions of all layers, each field with an axis [L].

    To be scanned along with the layers, where the types of layers differ.

    Args:
      rope_parameters: The attribute of that name in Hugging Face's config, one
        dictionary for each type of layer.
      layer_types: The type of each layer.
      head_dim: Features of a head.
      max_positions: The config's `max_position_embeddings`.

    Raises:
      ValueError: `rotary_positions` refuses a type's parameters; or its angles
        depend on the length of the text; or a key is no type of layer.
    """
    others = set(rope_parameters) - {"full_attention", "sliding_attention"}
    if others:
        raise ValueError(
            f"rope_parameters: {', '.join(sorted(others))} is no type of layer"
        )
    of_type = {
        layer_type: rotary_positions(
            rope_parameters[layer_type], head_dim, max_positions
        )
        for layer_type in sorted(set(layer_types))
    }
    for layer_type, one in of_type.items():
        if one.max_positions is not None:
            raise ValueError(
                "rope_parameters: rope_type "
                f"{rope_parameters[layer_type]['rope_type']!r} of {layer_type} "
                "is not ported"
            )
    # One row a type, and each layer's: a program as long as there are types.
    rows = jnp.array([list(of_type).index(kind) for kind in layer_types])
    types = of_type.values()
    return Rotary(
        jnp.stack([one.frequencies for one in types])[rows],
        jnp.array([one.scale for one in types], jnp.float32)[rows],
    )


def rotate(x: jax.Array, rotary: Rotary) -> jax.Array:
    """Returns heads x [B, T, N, H] turned by their positions 0 to T - 1.

    The first R features turn, feature i together with i + R / 2; the others
    pass. Angles and the rotation are in float32, the result in x's dtype.

    Raises:
      ValueError: T is beyond what the kind of rotary positions can do.
    """
    half = rotary.frequencies.shape[0]
    cos, sin = _cos_sin(x.shape[1], rotary)
    first = x[..., :half].astype(jnp.float32)
    second = x[..., half : 2 * half].astype(jnp.float32)
    turned = jnp.concatenate(
        [first * cos - second * sin, second * cos + first * sin], axis=-1
    )
    return jnp.concatenate(
        [turned.astype(x.dtype), x[..., 2 * half :]], axis=-1
    )


def rotate_interleaved(x: jax.Array, rotary: Rotary) -> jax.Array:
    """Returns heads x [B, T, N, H] turned by their positions 0 to T - 1.

    As `rotate`, but feature 2i turns together with 2i + 1.
    """
    half = rotary.frequencies.shape[0]
    cos, sin = _cos_sin(x.shape[1], rotary)
    first = x[..., 0 : 2 * half : 2].astype(jnp.float32)
    second = x[..., 1 : 2 * half : 2].astype(jnp.float32)
    turned = jnp.stack(
        [first * cos - second * sin, second * cos + first * sin], axis=-1
    ).reshape(*x.shape[:-1], 2 * half)
    return jnp.concatenate(
        [turned.astype(x.dtype), x[..., 2 * half :]], axis=-1
    )


def _cos_sin(T: int, rotary: Rotary) -> tuple[jax.Array, jax.Array]:
    """Returns cosine and sine of the angles, float32 [T, 1, R / 2] each."""
    if rotary.max_positions is not None and rotary.max_positions < T:
        raise ValueError(
            f"{T} positions, but beyond {rotary.max_positions} the rotary "
            "angles of this model depend on the length of the text; score with "
            f"windows of at most {rotary.max_positions}"
        )
    positions = jnp.arange(T, dtype=jnp.float32)
    angles = (positions[:, None] * rotary.frequencies)[:, None, :]
    return jnp.cos(angles) * rotary.scale, jnp.sin(angles) * rotary.scale


def _given(rope_parameters: dict[str, Any]) -> dict[str, Any]:
    """Returns the parameters of the kind itself that are set."""
    needed, allowed = _PARAMETERS[rope_parameters["rope_type"]]
    return {
        name: rope_parameters[name]
        for name in (*needed, *allowed)
        if rope_parameters.get(name) is not None
    }


def unread(
    rope_parameters: dict[str, Any], own: Sequence[str] = ()
) -> dict[str, Any]:
    """Returns the parameters that neither we nor transformers read.

    Args:
      rope_parameters: Hugging Face's, of all layers or by the type of layer.
      own: Names of parameters that the family alone reads.
    """
    found = {}
    for name, value in rope_parameters.items():
        if isinstance(value, dict):  # Of a type of layer.
            inside = unread(value, own)
            found |= {f"{name}.{inner}": v for inner, v in inside.items()}
    needed, allowed = _PARAMETERS.get(
        rope_parameters.get("rope_type"), (tuple(rope_parameters), ())
    )
    known = (*_COMMON, *needed, *allowed, *own)
    return found | {
        name: value
        for name, value in rope_parameters.items()
        if name not in known and value is not None
    }


def _llama3(
    frequencies: jax.Array,
    factor: float,
    low_freq_factor: float,
    high_freq_factor: float,
    original_max_position_embeddings: int,
) -> jax.Array:
    # Turns in the original context; where between the low and the high corner
    # they lie, as a fraction: 0 is divided in full, 1 is left alone.
    turns = original_max_position_embeddings * frequencies / (2 * math.pi)
    kept = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor)
    kept = jnp.clip(kept, 0.0, 1.0)
    return (1.0 - kept) * frequencies / factor + kept * frequencies


def _yarn(
    frequencies: jax.Array,
    base: float,
    factor: float,
    original_max_position_embeddings: int,
    attention_factor: float | None = None,
    beta_fast: float = 32.0,
    beta_slow: float = 1.0,
    mscale: float | None = None,
    mscale_all_dim: float | None = None,
    truncate: bool = True,
) -> Rotary:
    rotated = 2 * frequencies.shape[0]

    def feature(turns: float) -> float:
        """Returns the feature that makes so many turns in the context."""
        wavelength = original_max_position_embeddings / (turns * 2 * math.pi)
        return rotated * math.log(wavelength) / (2 * math.log(base))

    low, high = feature(beta_fast), feature(beta_slow)
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, rotated - 1)
    if low == high:
        high += 0.001  # As transformers does, against a division by zero.
    features = jnp.arange(rotated // 2, dtype=jnp.float32)
    divided = jnp.clip((features - low) / (high - low), 0.0, 1.0)
    if attention_factor is None:
        attention_factor = yarn_scale(factor)
        if mscale and mscale_all_dim:
            attention_factor = yarn_scale(factor, mscale) / yarn_scale(
                factor, mscale_all_dim
            )
    mixed = divided * frequencies / factor + (1.0 - divided) * frequencies
    return Rotary(mixed, attention_factor)


def yarn_scale(factor: float, mscale: float = 1.0) -> float:
    """Returns YaRN's scale of cosine and sine, 0.1 m ln(factor) + 1.

    Source: Peng et al., arXiv 2309.00071, eq. 22; m as in DeepSeek-V2.
    """
    return 1.0 if factor <= 1 else 0.1 * mscale * math.log(factor) + 1.0


def _proportional(
    rope_parameters: dict[str, Any], head_dim: int, share: float
) -> Rotary:
    half, turned = head_dim // 2, int(share * head_dim // 2)
    steps = np.arange(0, 2 * turned, 2, dtype=np.float32) / np.float32(head_dim)
    base = jnp.float32(rope_parameters["rope_theta"])
    frequencies = jnp.pad(1 / jnp.power(base, steps), (0, half - turned))
    return Rotary(frequencies / rope_parameters.get("factor", 1.0))


def _longrope(
    frequencies: jax.Array,
    max_positions: int,
    short_factor: list[float],
    long_factor: list[float],
    original_max_position_embeddings: int,
    attention_factor: float | None = None,
    factor: float | None = None,
) -> Rotary:
    original = original_max_position_embeddings
    factor = factor or max_positions / original
    if attention_factor is None:
        attention_factor = 1.0
        if factor > 1:
            attention_factor = math.sqrt(
                1 + math.log(factor) / math.log(original)
            )
    for name, factors in (("short", short_factor), ("long", long_factor)):
        if len(factors) != frequencies.shape[0]:
            raise ValueError(
                f"rope_parameters: {name}_factor has {len(factors)} numbers, "
                f"{frequencies.shape[0]} are needed"
            )
    divided = frequencies / jnp.array(short_factor, jnp.float32)
    return Rotary(divided, attention_factor, original)
