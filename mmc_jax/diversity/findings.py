"""What goes wrong in studies of pools, looked for and said in words.

M models, X texts.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from mmc_jax import oracle
from mmc_jax.diversity.contributions import (
    elimination,
    marginal_contributions,
    win_shares,
)
from mmc_jax.scores import ScoreTable

# Names in a sentence; the rest is counted.
_NUM_NAMED = 5


class Finding(NamedTuple):
    """One thing that a diagnosis says.

    Attributes:
      about: Kind of the finding: "gain", "winner", "duplicates", "listed
        twice", "scored otherwise", "redundant", "core", "hard texts",
        "tokenizers", "round trips", "not fair" or "not checked".
      words: The finding in sentences.
      models: Names of all models that the finding is about.
      texts: Ids of all texts that the finding is about.
    """

    about: str
    words: str
    models: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()


def diagnosis(
    table: ScoreTable,
    *,
    normalisation: str = "text_length",
    redundant_share: float = 0.01,
    hard_share: float = 0.05,
    rank_shift: float = 0.2,
) -> list[Finding]:
    """Returns what is wrong with a pool and its texts, in words.

    Costs and families are not needed.

    - gain: what all models together gain over the best one.
    - winner: a model that is the best on every text.
    - duplicates: models of equal losses on all texts.
    - listed twice: a model that its file lists under several families.
    - scored otherwise: what the provenance of scores that others made says of
      how they were made (`caveats`).
    - redundant: a model without which the pool loses less than
      `redundant_share` of its gain.
    - core: the models that are left when models are dropped one by one until
      that share is lost.
    - hard texts: texts that are among the hardest `hard_share` of every model.
    - tokenizers: models whose ranks by the loss per token and by the loss per
      byte (or character) differ by `rank_shift` of the models or more, and by
      at least 2.
    - round trips: models whose tokenizers do not give texts back.
    - not fair, not checked: what the losses do not allow.

    Args:
      table: Score table of the models and texts.
      normalisation: One of `scores.NORMALISATIONS`.
      redundant_share: Share of the pool's gain over its best model that may be
        lost without a redundant model.
      hard_share: Share of each model's texts that are its hardest.
      rank_shift: Share of the models by which a model's rank may differ
        between losses per token and per byte.

    Raises:
      ValueError: The table lacks what the normalisation needs; a share outside
        0 to 1.
    """
    for name, share in (
        ("redundant_share", redundant_share),
        ("hard_share", hard_share),
        ("rank_shift", rank_shift),
    ):
        if not 0 < share < 1:
            raise ValueError(f"{name} is {share}; between 0 and 1 is needed.")
    losses = table.losses(normalisation)
    return [
        *_gain(table, losses),
        *_duplicates(table, losses),
        *_listed_twice(table),
        *_scored_otherwise(table),
        *_redundant(table, losses, redundant_share),
        *_hard_texts(table, losses, hard_share),
        *_tokenizers(table, rank_shift, normalisation),
        *_round_trips(table),
    ]


def _gain(table: ScoreTable, losses: np.ndarray) -> list[Finding]:
    names = _names(table)
    means = oracle.exact_means(losses)
    best = int(means.argmin())
    oracle_loss = losses.min(axis=0)
    winners = [
        names[m] for m in np.flatnonzero((losses == oracle_loss).all(axis=1))
    ]
    if winners:
        both = "is" if len(winners) == 1 else "are"
        return [
            Finding(
                "winner",
                f"{_listed(winners)} {both} the best on every one of the "
                f"{len(table.texts)} texts: no pool can gain anything over "
                "it. This table says nothing of diversity.",
                tuple(winners),
            ),
            Finding(
                "gain",
                "The gain of all models together over the best one is exactly "
                "0.",
                (names[best],),
            ),
        ]
    loss_of_all = float(oracle.exact_means(oracle_loss))
    gain = means[best] - loss_of_all
    shares = win_shares(losses)
    first = int(shares.argmax())
    return [
        Finding(
            "gain",
            f"All {len(names)} models together lose {loss_of_all:.4f}, "
            f"{gain:.4g} ({_percent(gain / abs(means[best]))}) less than the "
            f"best one, {names[best]} ({means[best]:.4f}). The most texts are "
            f"won by {names[first]}, {_percent(shares[first])}.",
            (names[best], names[first]),
        )
    ]


def _duplicates(table: ScoreTable, losses: np.ndarray) -> list[Finding]:
    rows: dict[bytes, list[int]] = {}
    for m, row in enumerate(losses):
        rows.setdefault((row + 0.0).tobytes(), []).append(m)
    found = []
    for same in rows.values():
        if len(same) < 2:
            continue
        models = [table.models[m] for m in same]
        names = tuple(model.name for model in models)
        families = dict.fromkeys(model.family or "none" for model in models)
        words = f"{_listed(names)} have equal losses on all texts: one model."
        if len(families) > 1:
            words += (
                f" They stand under the families {_listed(families)}: a pool "
                "of one model would pass for a mixed one."
            )
        found.append(Finding("duplicates", words, names))
    return found


def _listed_twice(table: ScoreTable) -> list[Finding]:
    found = []
    for model in table.models:
        listed = model.provenance.get("families", ())
        if len(listed) < 2:
            continue
        under = list(dict.fromkeys(family or "none" for family in listed))
        families = "family" if len(under) == 1 else "families"
        found.append(
            Finding(
                "listed twice",
                f"{model.name} is listed {len(listed)} times, under the "
                f"{families} {_listed(under)}, with equal losses: a duplicate, "
                f"read once, as of {under[0]}.",
                (model.name,),
            )
        )
    return found


def _scored_otherwise(table: ScoreTable) -> list[Finding]:
    of_models: dict[str, list[str]] = {}
    for model in table.models:
        for caveat in model.provenance.get("caveats", ()):
            of_models.setdefault(str(caveat), []).append(model.name)
    return [
        Finding(
            "scored otherwise", f"{_listed(names)}: {caveat}.", tuple(names)
        )
        for caveat, names in of_models.items()
    ]


def _redundant(
    table: ScoreTable, losses: np.ndarray, redundant_share: float
) -> list[Finding]:
    names = _names(table)
    if len(names) == 1:
        return []
    gain = oracle.exact_means(losses).min() - oracle.exact_means(
        losses.min(axis=0)
    )
    bound = redundant_share * gain
    marginal = marginal_contributions(losses)
    redundant = [names[m] for m in np.flatnonzero(marginal <= bound)]
    dropped = elimination(losses)
    # The first that cannot be dropped any more, and all after it, stay.
    lost = dropped.losses - dropped.losses[0]
    num_dropped = int((lost <= bound).sum()) - 1
    core = [names[m] for m in np.sort(dropped.order[num_dropped:])]
    little = "nothing"
    if gain > 0:
        little = f"no more than {_percent(redundant_share)} of its gain"
    found = []
    if redundant:
        found.append(
            Finding(
                "redundant",
                f"{len(redundant)} of {len(names)} models are redundant, each "
                f"for itself; without it the pool loses {little}: "
                f"{_listed(redundant)}.",
                tuple(redundant),
            )
        )
    if gain > 0 and len(core) < len(names):
        found.append(
            Finding(
                "core",
                f"{_models(len(core))} are enough: without all others the pool "
                f"loses {little}: {_listed(core)}.",
                tuple(core),
            )
        )
    return found


def _hard_texts(
    table: ScoreTable, losses: np.ndarray, hard_share: float
) -> list[Finding]:
    bounds = np.quantile(losses, 1 - hard_share, axis=1, method="higher")
    varies = bounds > losses.min(axis=1)
    hard = (losses >= bounds[:, None]).all(axis=0) & varies.all()
    if not hard.any():
        return []
    oracle_loss = losses.min(axis=0)
    chosen = np.flatnonzero(hard)
    chosen = chosen[np.argsort(-oracle_loss[chosen], kind="stable")]
    ids = tuple(table.texts.ids[x] for x in chosen)
    # A share of losses that may be negative has no meaning.
    share = ""
    if (oracle_loss >= 0).all() and oracle_loss.any():
        of_loss = oracle_loss[hard].sum() / oracle_loss.sum()
        share = f" and {_percent(of_loss)} of the oracle's loss"
    return [
        Finding(
            "hard texts",
            f"{len(ids)} of {len(table.texts)} texts are among the hardest "
            f"{_percent(hard_share)} of every model: none covers them. They "
            f"are {_percent(hard.mean())} of the texts{share}. The hardest: "
            f"{_listed(map(repr, ids))}.",
            texts=ids,
        )
    ]


def _tokenizers(
    table: ScoreTable, rank_shift: float, normalisation: str
) -> list[Finding]:
    found = []
    if normalisation == "nats_per_token":
        found.append(
            Finding(
                "not fair",
                "These losses are per token: models with longer tokens lose "
                "more at the same likelihood. Take another normalisation.",
            )
        )
    texts = table.texts
    by_bytes = bool(np.all(texts.num_bytes > 0))
    if table.num_tokens is None or not (
        by_bytes or np.all(texts.num_chars > 0)
    ):
        return [
            *found,
            Finding(
                "not checked",
                "Whether tokenizers fit was not checked: the table does not "
                "know how many tokens, and bytes or characters, texts have.",
            ),
        ]
    unit, fair = (
        ("byte", "bits_per_byte")
        if by_bytes
        else ("character", "nats_per_char")
    )
    from scipy import stats  # It takes a second, which few analyses need.

    by_token, by_unit = (
        stats.rankdata(table.losses(name).mean(axis=1))
        for name in ("nats_per_token", fair)
    )
    units = texts.num_bytes if by_bytes else texts.num_chars
    length = units.sum() / table.num_tokens.sum(axis=1)
    shift = by_token - by_unit
    suspects = np.flatnonzero(
        np.abs(shift) >= max(2, rank_shift * len(table.models))
    )
    suspects = suspects[np.argsort(-np.abs(shift[suspects]), kind="stable")]
    if len(suspects):
        names = _names(table)
        each = "; ".join(
            f"{names[m]} is number {by_token[m]:g} per token and number "
            f"{by_unit[m]:g} per {unit} ({length[m]:.2f} {unit}s a token)"
            for m in suspects[:_NUM_NAMED]
        )
        more = len(suspects) - _NUM_NAMED
        found.append(
            Finding(
                "tokenizers",
                f"Tokenizers differ: per token {_models(len(suspects))} would "
                f"rank elsewhere: {each}"
                + (f"; and {more} more" if more > 0 else "")
                + f". The median model has {np.median(length):.2f} {unit}s a "
                "token. Losses per token must not be compared here.",
                tuple(names[m] for m in suspects),
            )
        )
    return found


def _round_trips(table: ScoreTable) -> list[Finding]:
    if table.round_trips is None:
        return [
            Finding(
                "not checked",
                "Whether texts come back from their tokens was not checked: "
                "the table does not know.",
            )
        ]
    found = []
    for model, back in zip(table.models, table.round_trips, strict=True):
        ids = tuple(table.texts.ids[x] for x in np.flatnonzero(~back))
        if ids:
            found.append(
                Finding(
                    "round trips",
                    f"{len(ids)} of {len(table.texts)} texts do not come back "
                    f"from the tokens of {model.name}, which scored other "
                    f"texts than the rest: {_listed(map(repr, ids))}.",
                    (model.name,),
                    ids,
                )
            )
    return found


def _names(table: ScoreTable) -> list[str]:
    return [model.name for model in table.models]


def _models(number: int) -> str:
    return f"{number} model" + ("" if number == 1 else "s")


def _percent(share: float) -> str:
    return f"{100 * share:.3g} percent"


def _listed(names: Iterable[str]) -> str:
    """Returns "a, b and c", or the first few and how many there are more."""
    names = list(names)
    if len(names) > _NUM_NAMED:
        names = [*names[:_NUM_NAMED], f"{len(names) - _NUM_NAMED} more"]
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
