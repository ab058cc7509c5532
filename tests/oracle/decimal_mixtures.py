"""Mixtures of models in 40 decimal digits, one text after the other."""

import decimal
from decimal import Decimal

import numpy as np

_CONTEXT = decimal.Context(prec=40, Emin=-(10**12), Emax=10**12)


def mixture_nll(nll, mask, log_weights=None):
    """Returns -log sum_i pi_i exp(-N_ix) of one subset: Decimals, [X]."""
    if log_weights is None:
        log_weights = np.zeros(len(nll))
    members = [
        i for i in range(len(nll)) if mask[i] and log_weights[i] > -np.inf
    ]
    with decimal.localcontext(_CONTEXT):
        logs = [Decimal(float(log_weights[i])) for i in members]
        total = sum(log.exp() for log in logs)
        return [
            _one(
                [Decimal(float(nll[i, x])) for i in members],
                [log.exp() / total for log in logs],
            )
            for x in range(nll.shape[1])
        ]


def _one(values, weights):
    least = min(values)
    if least.is_infinite():
        return Decimal("Infinity")
    terms = [
        weight * (least - value).exp()
        for value, weight in zip(values, weights, strict=True)
        if value.is_finite()
    ]
    return least - sum(terms).ln()


def mixture_loss(nll, mask, log_weights, weights, lengths):
    """Returns the weighted mean of the mixture's losses, rounded once."""
    rows = mixture_nll(nll, mask, log_weights)
    with decimal.localcontext(_CONTEXT):
        shares = [Decimal(float(w)) for w in weights]
        total = sum(
            share * row / Decimal(float(length))
            for share, row, length in zip(shares, rows, lengths, strict=True)
            if share
        )
        return float(total / sum(shares))
