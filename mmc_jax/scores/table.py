"""The score table in memory. M models, X texts.

It is one file: all of it is about what one table knows.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mmc_jax import corpus
from mmc_jax.scores import normalisations

# Each normalisation with the unit of its losses.
NORMALISATIONS = {
    "text_length": "nats per token of average length",
    "bits_per_byte": "bits per byte",
    "nats_per_char": "nats per character",
    "nats_per_token": "nats per token, not fair between tokenizers",
    "raw": "scores as given",
}

# The cost that follows from what calls cost, where that is known.
_MEAN_QUERY_COST = "mean_query_cost"

# What the scores of a table are, with what that means.
UNITS = {
    "nll_nats": "negative log-likelihood of the full text, in nats",
    "bits_per_byte": "negative log-likelihood, in bits per byte of the text",
    "error": "1 - score, between 0 and 1",
    "raw": "any number of which lower is better",
}


@dataclasses.dataclass(frozen=True)
class ScoredModel:
    """What a score table knows of one model.

    Attributes:
      name: Unique in the table.
      family: Models that one team trained as one line; "" where not known.
      kind: "base" or "instruct".
      costs: What the model adds to the cost of a subset: num_params,
        num_active_params, num_non_embedding_params, flops_per_token (without
        attention's products of positions), num_training_tokens, any other
        number.
      provenance: Where the scores come from, values as in JSON. Those of the
        scoring engine hold "key", what the scores depend on, and "seconds".
    """

    name: str
    family: str = ""
    kind: str = "base"
    costs: dict[str, float] = dataclasses.field(default_factory=dict)
    provenance: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class ScoreTable:
    """Scores of X texts under M models.

    Attributes:
      models: The models, [M].
      texts: The texts' ids, domains and counts, [X], without the texts
        themselves. `num_bytes` and `num_chars` are all 0, and `sha256` is "",
        where an imported table does not know them.
      nll_nats: Negative log-likelihood of each text, in nats, float64 [M, X],
        or for imported tables any finite number of which lower is better.
      num_tokens: Tokens of each text, int64 [M, X], None where not known.
      num_scored: Tokens that have a score, int64 [M, X]: num_tokens, less 1
        where a model has no prefix token, so that its first token stays
        unscored. None where `num_tokens` is.
      round_trips: Whether the text came back from its tokens unchanged, bool
        [M, X], None where not known.
      chars_per_token: k of `text_length`, ONE constant for the whole study.
        Worked out over all models and texts when a table is made; a selection
        keeps its table's. None where characters or tokens are not known.
      unit: What the scores are, a key of `UNITS`. None where an import was not
        told: lower is better, and nothing else is known.
      query_costs: What a call of the model on the text costs, in the unit that
        the provenance names, float64 [M, X]. None where not known.
      tokens: `tokens.TokenScores` by the models' names, of all texts in order;
        None where they were not kept.
      places: Where the rows are in their texts, if they are segments of texts
        (`segmentation.Places`); None where a row is a text.

    Raises:
      ValueError: No models or texts, two models of one name, an array of
        another shape, a score that is not finite (model and text are named),
        counts that are negative or known for some texts only, another unit.
    """

    models: tuple[ScoredModel, ...]
    texts: corpus.Corpus
    nll_nats: np.ndarray
    num_tokens: np.ndarray | None = None
    num_scored: np.ndarray | None = None
    round_trips: np.ndarray | None = None
    chars_per_token: float | None = None
    unit: str | None = "nll_nats"
    query_costs: np.ndarray | None = None
    tokens: Mapping[str, Any] | None = None
    places: Any = None

    def __post_init__(self):
        names = [model.name for model in self.models]
        if not names or not len(self.texts):
            raise ValueError(
                f"a score table needs models and texts; there are {len(names)} "
                f"models and {len(self.texts)} texts"
            )
        seen: set[str] = set()
        for name in names:
            if not name or name in seen:
                raise ValueError(f"model name {name!r} is empty or there twice")
            seen.add(name)
        if self.unit is not None and self.unit not in UNITS:
            raise ValueError(
                f"no unit {self.unit!r}; there are {', '.join(UNITS)}"
            )
        for field in (
            "nll_nats",
            "num_tokens",
            "num_scored",
            "round_trips",
            "query_costs",
        ):
            values = getattr(self, field)
            if values is not None and values.shape != self._shape:
                raise ValueError(
                    f"{field} has the shape {values.shape}; with {len(names)} "
                    f"models and {len(self.texts)} texts it is {self._shape}"
                )
        self._check(np.isfinite(self.nll_nats), "is {}, not finite")
        if (self.num_tokens is None) != (self.num_scored is None):
            raise ValueError("num_tokens and num_scored come together")
        if self.num_tokens is not None:
            self._check(
                (self.num_scored >= 0) & (self.num_scored <= self.num_tokens),
                "has more tokens scored than it has, or fewer than none",
            )
            for name, num in zip(
                names, self.num_tokens.sum(axis=1), strict=True
            ):
                if num == 0:
                    raise ValueError(f"model {name!r} has no tokens at all")
        for field in ("num_bytes", "num_chars"):
            known = getattr(self.texts, field) > 0
            if known.any() and not known.all():
                text = self.texts.ids[int(np.argmin(known))]
                raise ValueError(
                    f"{field} of text {text!r} is not positive; give it for "
                    "all texts or for none"
                )
        if self.chars_per_token is None and self._knows_lengths():
            k = normalisations.chars_per_token(
                self.texts.num_chars, self.num_tokens
            )
            object.__setattr__(self, "chars_per_token", k)

    @property
    def _shape(self) -> tuple[int, int]:
        return len(self.models), len(self.texts)

    def _knows_lengths(self) -> bool:
        return self.num_tokens is not None and bool(
            np.all(self.texts.num_chars > 0)
        )

    def _check(self, good: np.ndarray, complaint: str) -> None:
        """Raises a ValueError at the first score that is not good, [M, X]."""
        if not good.all():
            m, x = np.unravel_index(np.argmin(good), good.shape)
            raise ValueError(
                f"model {self.models[m].name!r}: the score of text "
                f"{self.texts.ids[x]!r} "
                + complaint.format(self.nll_nats[m, x])
            )

    def losses(self, normalisation: str = "text_length") -> np.ndarray:
        """Returns the loss of each text under each model, float64 [M, X].

        Of segments it is what they add to the loss of a text, times the average
        number of segments of a text: the plain mean over segments is the mean
        over texts, whatever their lengths.

        Args:
          normalisation: One of "text_length" (the paper's), "bits_per_byte",
            "nats_per_char", "nats_per_token" (not fair) and "raw", the
            functions of `mmc_jax.scores`.

        Raises:
          ValueError: Another normalisation, one that needs counts which this
            table does not have or sums in nats which its scores are not, or a
            text of which a model scored no token (its loss would be 0 and win
            every minimum).
        """
        losses, weights = self.weighted_losses(normalisation)
        if weights is None:
            return losses
        return losses * (weights * (len(weights) / weights.sum()))

    def weighted_losses(
        self, normalisation: str = "text_length"
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns losses [M, X], and what each text weighs, float64 [X].

        Segments have losses by their own lengths, and weigh what they are a
        share of their text. Texts weigh 1, for which None stands.

        Args:
          normalisation: Name of one of the `NORMALISATIONS`.

        Raises:
          ValueError: What `losses` refuses.
        """
        if normalisation not in NORMALISATIONS:
            raise ValueError(
                f"no normalisation {normalisation!r}; there are "
                f"{', '.join(NORMALISATIONS)}"
            )
        if self.num_scored is not None:
            self._check(
                self.num_scored > 0,
                "stands for no scored token and would win every minimum; leave "
                "such texts out of the corpus, or (in Python) by "
                "table.select(texts=(table.num_scored > 0).all(axis=0))",
            )
        if self.places is None:
            return self._losses_of_rows(normalisation), None
        return self._losses_of_rows(normalisation), self.places.shares

    def _losses_of_rows(self, normalisation: str) -> np.ndarray:
        nll, texts = self.nll_nats, self.texts
        num_chars = texts.num_chars
        if self.places is not None and self.places.num_chars is not None:
            num_chars = self.places.num_chars
        if normalisation == "raw" or normalisation == self.unit:
            # Of a segment, what a text of its kind would have.
            return normalisations.raw(
                nll if self.places is None else nll / self.places.shares
            )
        if self.unit not in (None, "nll_nats"):
            raise ValueError(
                f"{normalisation} needs sums in nats, and these scores are "
                f"{self.unit} ({UNITS[self.unit]}); --normalisation=raw takes "
                'them as they are (in Python: losses("raw"))'
            )
        if normalisation == "nats_per_token":
            self._need(self.num_tokens is not None, normalisation, "num_tokens")
            return normalisations.nats_per_token(nll, self.num_scored)
        if normalisation == "bits_per_byte":
            known = bool(np.all(texts.num_bytes > 0))
            self._need(known, normalisation, "num_bytes")
            return normalisations.bits_per_byte(nll, texts.num_bytes)
        known = bool(np.all(num_chars > 0))
        self._need(known, normalisation, "num_chars")
        if normalisation == "nats_per_char":
            return normalisations.nats_per_char(nll, num_chars)
        k = self.chars_per_token
        self._need(k is not None, normalisation, "num_tokens")
        return normalisations.text_length(nll, num_chars, k)

    def loss_unit(self, normalisation: str = "text_length") -> str:
        """Returns the unit of a normalisation's losses of this table, in words.

        Of scores that are taken as given it is the table's own: "nats a word"
        where a row is a word, by "row" in the models' provenance.

        Args:
          normalisation: Name of one of the `NORMALISATIONS`.
        """
        if normalisation != "raw" or self.unit in (None, "raw"):
            return NORMALISATIONS[normalisation]
        if self.unit == "nll_nats":
            rows = {model.provenance.get("row") for model in self.models}
            row = rows.pop() if len(rows) == 1 else None
            return f"nats a {row if isinstance(row, str) and row else 'text'}"
        return NORMALISATIONS.get(self.unit, UNITS[self.unit].split(",")[0])

    def lengths(self, normalisation: str = "text_length") -> np.ndarray:
        """Returns what a normalisation divides each nll by, float64 [X].

        losses = nll_nats / lengths

        Args:
          normalisation: One of "text_length", "bits_per_byte",
            "nats_per_char" and "raw". "nats_per_token" divides by another
            number for each model.

        Raises:
          ValueError: Another normalisation, or one that needs counts which
            this table does not have.
        """
        texts = self.texts
        if normalisation == "raw":
            return np.ones(len(texts))
        if normalisation == "bits_per_byte":
            known = bool(np.all(texts.num_bytes > 0))
            self._need(known, normalisation, "num_bytes")
            return texts.num_bytes * np.log(2.0)
        if normalisation not in ("text_length", "nats_per_char"):
            raise ValueError(
                f"{normalisation!r} does not divide a text's nll under all "
                "models by one number; take text_length, bits_per_byte, "
                "nats_per_char or raw"
            )
        known = bool(np.all(texts.num_chars > 0))
        self._need(known, normalisation, "num_chars")
        if normalisation == "nats_per_char":
            return texts.num_chars.astype(np.float64)
        self._need(
            self.chars_per_token is not None, normalisation, "num_tokens"
        )
        return texts.num_chars / self.chars_per_token

    @staticmethod
    def _need(known: bool, normalisation: str, field: str) -> None:
        if not known:
            raise ValueError(
                f"{normalisation} needs {field}, which this table does not "
                "have; --normalisation=raw takes the scores as they are "
                '(in Python: losses("raw"))'
            )

    def costs(self, name: str = "num_params") -> np.ndarray:
        """Returns one cost of each model, float64 [M].

        "flops_per_byte", where the models do not state it, is flops_per_token
        times the model's tokens per byte of these texts: a model whose
        tokenizer cuts texts finer runs more often. "mean_query_cost" is the
        mean of the query costs of these texts.

        Raises:
          ValueError: A model does not have this cost; the message names it.
        """
        if name == "flops_per_byte" and not all(
            name in model.costs for model in self.models
        ):
            num_bytes = int(np.sum(self.texts.num_bytes))
            if self.num_tokens is None or num_bytes == 0:
                raise ValueError(
                    f"the cost {name!r} needs the texts' num_tokens and "
                    "num_bytes, which this table does not have"
                )
            tokens_per_byte = self.num_tokens.sum(axis=1) / num_bytes
            return self.costs("flops_per_token") * tokens_per_byte
        if name == _MEAN_QUERY_COST and self.query_costs is not None:
            return self.query_costs.mean(axis=1)
        for model in self.models:
            if name not in model.costs:
                raise ValueError(
                    f"model {model.name!r} has no cost {name!r}; it has "
                    f"{', '.join(model.costs) or 'none'} (--cost takes one of "
                    "them, a file of facts gives more by --models, and "
                    "--only_models leaves a model out)"
                )
        return np.array([model.costs[name] for model in self.models], float)

    def models_without_cost(self, name: str) -> list[str]:
        """Returns the names of the models for which `costs` knows no number."""
        if name == _MEAN_QUERY_COST and self.query_costs is not None:
            return []
        counted = ("flops_per_token",) if name == "flops_per_byte" else ()
        return [
            model.name
            for model in self.models
            if not {name, *counted} & model.costs.keys()
        ]

    @property
    def text_dates(self) -> dict[str, str] | None:
        """Date of each text by its id, where it is known; None where none is.

        Of segments it is that of their text.
        """
        if self.texts.dates is None:
            return None
        ids = self.texts.ids if self.places is None else self.places.text_ids
        return {
            id_: date
            for id_, date in zip(ids, self.texts.dates, strict=True)
            if date
        } or None

    def domain_mask(self, domain: str) -> np.ndarray:
        """Returns which texts are of a domain, bool [X].

        Raises:
          ValueError: No text is; the message lists the domains.
        """
        mask = np.array([d == domain for d in self.texts.domains])
        if not mask.any():
            domains = sorted(set(self.texts.domains))
            raise ValueError(
                f"no text of domain {domain!r}; the domains are "
                f"{', '.join(map(repr, domains))}"
            )
        return mask

    def select(
        self,
        *,
        models: Iterable[str] | None = None,
        texts: ArrayLike | None = None,
    ) -> "ScoreTable":
        """Returns the table of some models and texts, with the same k.

        Args:
          models: Names, in the order that is wanted; None for all.
          texts: A mask, bool [X], or indices; None for all.

        Raises:
          ValueError: A model that is not there, a mask of another length, or
            no model or no text is left.
        """
        rows = np.arange(len(self.models))
        if models is not None:
            index = {model.name: i for i, model in enumerate(self.models)}
            models = list(models)
            for name in models:
                if name not in index:
                    raise ValueError(
                        f"no model {name!r} in the table; it has "
                        f"{', '.join(index)}"
                    )
            rows = np.array([index[name] for name in models], np.int64)
        columns = np.arange(len(self.texts))
        if texts is not None:
            texts = np.asarray(texts)
            if texts.dtype == bool and texts.shape != columns.shape:
                raise ValueError(
                    f"the mask of texts has the shape {texts.shape}; the table "
                    f"has {len(columns)} texts"
                )
            columns = columns[texts] if texts.size else columns[:0]
        chosen = np.ix_(rows, columns)
        return ScoreTable(
            models=tuple(self.models[row] for row in rows),
            texts=self.texts.select(columns),
            nll_nats=self.nll_nats[chosen],
            num_tokens=_selected(self.num_tokens, chosen),
            num_scored=_selected(self.num_scored, chosen),
            round_trips=_selected(self.round_trips, chosen),
            chars_per_token=self.chars_per_token,
            unit=self.unit,
            query_costs=_selected(self.query_costs, chosen),
            tokens=self.tokens and _TokensOfTexts(self.tokens, columns),
            places=self.places and self.places.select(columns),
        )

    def segments(
        self, kind: str, texts: corpus.Corpus | None = None
    ) -> "ScoreTable":
        """Returns the table of the segments of these texts.

        See `segmentation.segments`, which does the work.

        Args:
          kind: "text", "line", "sentence", "word", "token", or "bytes:64" with
            any number of bytes.
          texts: Corpus with the texts themselves, for lines, sentences and
            words, where the table does not hold them.

        Raises:
          ValueError: A kind that is none; tokens were not kept; the texts are
            missing or others; no text is followed by all models.
        """
        from mmc_jax.scores import segmentation  # It makes tables.

        return segmentation.segments(self, kind, texts)

    def clusters(self, *, by_domain: bool = False) -> tuple[str, ...] | None:
        """Returns what stays together where rows are resampled, [X].

        Args:
          by_domain: Whether it is the domain. Else it is the text that a row is
            a segment of, or nothing where rows are texts: None.
        """
        if by_domain:
            return self.texts.domains
        return None if self.places is None else self.places.text_ids


class _TokensOfTexts(Mapping[str, Any]):
    """The tokens of some texts, read and selected when they are asked for."""

    def __init__(self, tokens: Mapping[str, Any], texts: np.ndarray):
        self._tokens = tokens
        self._texts = texts

    def __len__(self) -> int:
        return len(self._tokens)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tokens)

    def __getitem__(self, name: str) -> Any:
        return self._tokens[name].select(self._texts)


def _selected(values: np.ndarray | None, index: Any) -> np.ndarray | None:
    return None if values is None else values[index]
