"""The writer of one model's scores: append-only, and safe to be killed.

It is one file: opening, appending and finishing check the same state.
"""

import dataclasses
import fcntl
import json
import os
import pathlib
import weakref
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import ArrayLike

from mmc_jax.scores import files, tokens
from mmc_jax.scores.table import ScoredModel

_HASH_DIGITS = 64  # Of a SHA-256.


class ModelWriter:
    """Writes the scores of one model, as they come.

    Attributes:
      keeps_tokens: Whether `append` needs the scores of tokens as well.

    What is appended is on disk when `append` returns. A writer that is opened
    again, after a kill at any moment, knows by `finished_ids` what is there;
    the finished file does not depend on how often that happened.

        scores.write_corpus(path, texts)
        with scores.ModelWriter(path, model, key) as writer:
            missing = [i for i in texts.ids if i not in writer.finished_ids]
            ...
            writer.append(ids, nll_nats, num_tokens, num_scored, round_trips)
            writer.finish()

    Different models of one table may be written at the same time. One model is
    written by one run alone: a second one is refused, where the file system has
    locks. The processes of a run that score a model together have a writer
    each: that of process 0 is opened before the others, and finishes when they
    have appended all.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        model: ScoredModel,
        key: Mapping[str, Any],
        *,
        rescore: bool = False,
        process: int = 0,
        keep_tokens: bool = False,
    ):
        """Opens what is there of the model, or begins it.

        Args:
          path: The table's folder, with its corpus written.
          model: The model. On `finish`, its provenance goes into the file, with
            `key` and `seconds` added.
          key: All that the scores depend on but the texts, as JSON: hash of
            the checkpoint, revision, dtype, window plan, prefix policy, ...
          rescore: Delete what is there with another key, instead of refusing.
          process: Number of this process among those that write this model
            together. Only process 0 deletes what a killed run or another key
            has left.
          keep_tokens: Whether the scores of tokens are kept as well. Where a
            run that did so was killed, they are kept in any case.

        Raises:
          BlockingIOError: Another run is writing this model.
          FileNotFoundError: The folder has no corpus.
          ValueError: Scores are there with another key (the message names the
            fields that differ), of other texts, or without the tokens that
            are to be kept; or a file is damaged.
        """
        path = pathlib.Path(path)
        texts = files.read_corpus(path)
        self._model = model
        self._key = json.loads(json.dumps(key, sort_keys=True))
        self._corpus_sha256 = files.corpus_sha256(texts)
        self._text_ids = pa.array(texts.ids, pa.string())
        self._known_ids = frozenset(texts.ids)
        self._file = files.model_file(path, model.name)
        self._token_file = tokens.token_file(path, model.name)
        self.keeps_tokens = keep_tokens
        self._parts = files.parts_folder(path, model.name)
        self._process = process
        self._seconds = 0.0
        self._ids: set[str] = set()
        self._num_parts = 0
        self._unlock: Callable[[], None] | None = None
        try:
            if process == 0:
                if rescore or not self._file.exists():
                    self._lock()
                self._clean()
                if rescore:
                    self._delete_other_keys()
            self._read()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "ModelWriter":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Lets others write this model; what is written stays."""
        if self._unlock is not None:
            self._unlock()

    def _lock(self) -> None:
        """Keeps other runs out, until `close` or the end of the process."""
        self._parts.mkdir(parents=True, exist_ok=True)
        file = os.open(self._parts / "lock", os.O_RDWR | os.O_CREAT)
        # Also when this writer is forgotten without having been closed.
        self._unlock = weakref.finalize(self, os.close, file)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(
                error.errno,
                f"{self._parts}: another run is scoring the model "
                f"{self._model.name!r}; wait for it or choose another output "
                "folder",
            ) from error
        except OSError:
            pass  # A file system without locks.

    def _read(self) -> None:
        """Takes note of what is there, and checks it."""
        if self._file.exists():  # Parts beside it are left from a kill.
            _, facts = files.read_scores(self._file)
            found = facts["provenance"].get("key")
            self._check_facts(self._file, facts, found)
            self._check_tokens(self._file, self._token_file)
            self._ids = set(self._known_ids)
            return
        self._parts.mkdir(parents=True, exist_ok=True)
        for part in self._part_files():
            table, facts = files.read_scores(part)
            self._check_facts(part, facts, facts["key"])
            self._check_tokens(part, _tokens_of(part))
            text_ids = table.column("text_id").to_pylist()
            self._check_ids(text_ids, part)
            self._ids.update(text_ids)
            self._seconds += facts["seconds"]
            self._num_parts = int(part.stem.split("-")[1]) + 1

    @property
    def finished_ids(self) -> Set[str]:
        """The ids of the texts that have a score; all once finished."""
        return self._ids

    def append(
        self,
        text_ids: Sequence[str],
        nll_nats: ArrayLike,
        num_tokens: ArrayLike,
        num_scored: ArrayLike,
        round_trips: ArrayLike,
        *,
        seconds: float = 0.0,
        token_scores: tokens.TokenScores | None = None,
    ) -> None:
        """Writes the scores of some texts; all arguments are [X'].

        Args:
          text_ids: Ids of texts that have no score yet.
          nll_nats: Negative log-likelihoods, in nats.
          num_tokens: Tokens of each text.
          num_scored: Tokens that have a score.
          round_trips: Whether each text came back from its tokens unchanged.
          seconds: Time that the scores took; summed up in the provenance.
          token_scores: Tokens of these texts; given where `keeps_tokens`.

        Raises:
          ValueError: A text that has a score already or is not in the corpus,
            a score that is not finite (model and text are named), counts that
            cannot be, or arguments of different lengths. Nothing is written.
        """
        where = f"model {self._model.name!r}"
        text_ids = list(text_ids)
        nll_nats = np.asarray(nll_nats, np.float64)
        num_tokens, num_scored = np.asarray(num_tokens), np.asarray(num_scored)
        round_trips = np.asarray(round_trips, np.bool_)
        for name, values in {
            "nll_nats": nll_nats,
            "num_tokens": num_tokens,
            "num_scored": num_scored,
            "round_trips": round_trips,
        }.items():
            if values.shape != (len(text_ids),):
                raise ValueError(
                    f"{where}: {name} has the shape {values.shape} for "
                    f"{len(text_ids)} texts"
                )
        for i in np.flatnonzero(~np.isfinite(nll_nats))[:1]:
            raise ValueError(
                f"{where}: the nll of text {text_ids[i]!r} is {nll_nats[i]}, "
                "not finite; score with a wider dtype (float16 overflows)"
            )
        bad = (num_scored < 0) | (num_scored > num_tokens)
        for i in np.flatnonzero(bad)[:1]:
            raise ValueError(
                f"{where}: text {text_ids[i]!r} has {num_scored[i]} tokens "
                f"scored of {num_tokens[i]}"
            )
        if not text_ids:
            return
        self._check_ids(text_ids, where)
        table = files.scores_table(
            text_ids, nll_nats, num_tokens, num_scored, round_trips
        )
        facts = {
            "name": self._model.name,
            "corpus_sha256": self._corpus_sha256,
            "key": self._key,
            "seconds": float(seconds),
        }
        name = f"part-{self._num_parts:06d}-{self._process:04d}.parquet"
        part = self._parts / name
        if self.keeps_tokens:  # The scores come last: they say that all is.
            tokens.write_tokens(
                tokens.tokens_table(text_ids, token_scores),
                facts,
                _tokens_of(part),
            )
        files.write_atomically(files.with_facts(table, facts), part)
        self._ids.update(text_ids)
        self._num_parts += 1
        self._seconds += float(seconds)

    def finish(self, provenance: Mapping[str, Any] | None = None) -> None:
        """Puts the parts of all processes together, on process 0.

        It is safe to call again after a kill. A model that was finished before
        keeps its scores and provenance; its family, kind and costs become those
        of this writer's model.

        Args:
          provenance: Facts to add that are known only now.

        Raises:
          ValueError: Texts of the corpus have no score.
        """
        self._ids, self._seconds, self._num_parts = set(), 0.0, 0
        self._read()  # Other processes have written too.
        if self._file.exists():
            scores, facts = files.read_scores(self._file)
            there = files.model_of(facts)
            model = dataclasses.replace(
                self._model, provenance=there.provenance
            )
            if model != there:
                self._write(scores, model)
        else:
            self._write_tokens()
            self._write(
                self._merged(self._part_files(), files.read_scores),
                dataclasses.replace(
                    self._model,
                    provenance={
                        **self._model.provenance,
                        **(provenance or {}),
                        "key": self._key,
                        "seconds": self._seconds,
                    },
                ),
            )
        if self._parts.exists():
            self._delete_parts()
            (self._parts / "lock").unlink(missing_ok=True)
            self._parts.rmdir()
        self.close()

    def _write(self, scores: pa.Table, model: ScoredModel) -> None:
        facts = files.facts_of(model, self._corpus_sha256, "nll_nats")
        files.write_atomically(files.with_facts(scores, facts), self._file)

    def _write_tokens(self) -> None:
        """Writes the tokens of all parts, or removes those of another run."""
        if not self.keeps_tokens:
            self._token_file.unlink(missing_ok=True)
            return
        facts = {
            "name": self._model.name,
            "corpus_sha256": self._corpus_sha256,
            "key": self._key,
        }
        parts = list(map(_tokens_of, self._part_files()))
        merged = self._merged(parts, tokens.read_tokens)
        tokens.write_tokens(merged, facts, self._token_file)

    def _merged(
        self,
        parts: Sequence[pathlib.Path],
        read: Callable[[pathlib.Path], tuple[pa.Table, dict[str, Any]]],
    ) -> pa.Table:
        """Returns the rows of all parts, in the order of the corpus."""
        missing = [i for i in self._text_ids.to_pylist() if i not in self._ids]
        if missing:
            raise ValueError(
                f"model {self._model.name!r}: {len(missing)} texts of "
                f"{len(self._text_ids)} have no score yet, such as "
                f"{missing[0]!r}; append them, then finish"
            )
        table = pa.concat_tables(
            read(part)[0] for part in parts
        ).combine_chunks()
        order = pyarrow.compute.index_in(
            self._text_ids, table.column("text_id").combine_chunks()
        )
        return table.take(order).combine_chunks()

    def _part_files(self) -> list[pathlib.Path]:
        return sorted(self._parts.glob("part-*.parquet"))

    def _check_ids(self, text_ids: Sequence[str], where: Any) -> None:
        """Raises a ValueError for a text that is unknown or has a score."""
        seen = set()
        for text_id in text_ids:
            if text_id not in self._known_ids:
                raise ValueError(
                    f"{where}: text {text_id!r} is not in the corpus"
                )
            if text_id in self._ids or text_id in seen:
                raise ValueError(
                    f"{where}: text {text_id!r} has a score already"
                )
            seen.add(text_id)

    def _check_facts(
        self,
        file: pathlib.Path,
        facts: Mapping[str, Any],
        key: Mapping[str, Any] | None,
    ) -> None:
        """Raises a ValueError where a file is of other texts or another key."""
        if facts["corpus_sha256"] != self._corpus_sha256:
            raise ValueError(
                f"{file}: scored on other texts than corpus.parquet; choose "
                "another output folder or delete this file"
            )
        differing = _differing(key or {}, self._key)
        if differing:
            raise ValueError(
                f"{file}: model {self._model.name!r} was scored differently: "
                f"{', '.join(differing)}; choose another output folder, or "
                "pass rescore to replace these scores"
            )

    def _check_tokens(self, scores: pathlib.Path, tokens: pathlib.Path) -> None:
        """Raises a ValueError where scores lack the tokens to be kept."""
        if tokens.exists():
            self.keeps_tokens = True
        elif self.keeps_tokens:
            raise ValueError(
                f"{scores}: model {self._model.name!r} was scored without "
                "keeping its tokens; choose another output folder, or pass "
                "rescore to replace these scores"
            )

    def _delete_other_keys(self) -> None:
        """Deletes the finished file and the parts if their key is another.

        So it does where tokens are to be kept that are not there.
        """
        if self._file.exists():
            _, facts = files.read_scores(self._file)
            other = facts["provenance"].get("key") != self._key
            if other or self._lacks(self._token_file):
                self._file.unlink()
                self._token_file.unlink(missing_ok=True)
        if any(
            files.read_scores(part)[1]["key"] != self._key
            or self._lacks(_tokens_of(part))
            for part in self._part_files()
        ):
            self._delete_parts()

    def _lacks(self, tokens: pathlib.Path) -> bool:
        return self.keeps_tokens and not tokens.exists()

    def _clean(self) -> None:
        """Deletes what a writer that was killed has left unfinished."""
        left = [
            *self._file.parent.glob(f"{self._file.name}.*.tmp"),
            *self._token_file.parent.glob(f"{self._token_file.name}.*.tmp"),
            *self._parts.glob("*.tmp"),
        ]
        # Tokens are written before the scores that make them count.
        scored = {_tokens_of(part) for part in self._part_files()}
        left += set(self._parts.glob("tokens-*.parquet")) - scored
        for file in left:
            file.unlink()

    def _delete_parts(self) -> None:
        # Scores first: tokens without them count for nothing.
        for part in [*self._part_files(), *self._parts.glob("tokens-*")]:
            part.unlink()


def _tokens_of(part: pathlib.Path) -> pathlib.Path:
    """Returns the file of the tokens of a part of the scores."""
    return part.with_name(f"tokens-{part.name.removeprefix('part-')}")


def _differing(
    there: Mapping[str, Any], now: Mapping[str, Any], where: str = ""
) -> list[str]:
    """Returns what differs between two keys; of files, those that do."""
    found = []
    for field in sorted({*there, *now}):
        old, new = there.get(field), now.get(field)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += _differing(old, new, f"{where}{field}: ")
        elif old != new:
            found.append(
                f"{where}{field} ({_shown(old)} there, {_shown(new)} now)"
            )
    return found


def _shown(value: Any) -> str:
    """Returns a value of a key for an error; of a hash, its first digits."""
    is_hash = isinstance(value, str) and len(value) == _HASH_DIGITS
    return f"{value[:8]}..." if is_hash else repr(value)
