"""The numbers of laws of fixed points; see tests/report/test_same_bytes.py."""

import numpy as np

from mmc_jax import law

# Points of A = 40, alpha = 0.25, L_inf = 1.5 with noise, all from rational
# operations, so that they are the same on every machine.
_P = 1e6 * 2.0 ** np.arange(16)
_NOISE = 1 + 0.02 * (np.arange(16) * 7 % 11 / 11 - 0.5)
_OF_TEXTS = 1 + 0.03 * (np.add.outer(3 * np.arange(16), np.arange(16)) % 7 - 3)
_L = (1.25 * 0.84375 ** np.arange(16).astype(object)).astype(float) + 1.5


def numbers() -> list[float]:
    """Returns the numbers of fits, resampled fits and a profile."""
    losses = _L * _NOISE
    fit = law.fit(_P, losses)
    found = [*fit[:10]]
    resampled = law.text_bootstrap(
        losses[:, None] * _OF_TEXTS,
        _P,
        np.eye(16, dtype=bool),
        num_resamples=8,
        seed=1,
    )
    for name in ("A", "alpha", "L_inf", "objective"):
        found += getattr(resampled.laws, name).tolist()
    profile = law.profile(_P, losses)
    found += [profile.low, profile.estimate, profile.high]
    found += [float(law.loss(fit, 1e12)), float(law.budget_for(fit, 1.8))]
    return [float(number) for number in found]
