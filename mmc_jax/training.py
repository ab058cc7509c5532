"""Trains small language models from nothing: tokenizer, stream, AdamW.

The shipped pool and the controlled studies are made with it; what it writes are
ordinary Hugging Face folders. V vocabulary, B batch, T position.
"""

import hashlib
import json
import pathlib
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import tokenizers
import tqdm
import transformers
from flax import nnx

from mmc_jax import at_once, disk, models, scores
from mmc_jax.corpus import Corpus
from mmc_jax.models import cache


class Recipe(NamedTuple):
    """How a model is trained; the same for every size of a family.

    Attributes:
      mixture: Share of each domain in the batches, by its name.
      seq_len: Tokens of a sequence.
      num_steps: Number of updates.
      tokens_per_step: Tokens of a batch.
      learning_rate: Highest learning rate, after a linear warm-up and before a
        cosine decay to a tenth of it.
      warmup_fraction: Share of the steps that warm up.
      weight_decay: AdamW's weight decay, on matrices only.
      max_grad_norm: The gradient's global norm is clipped to this.
      seed: Seed of the first weights and of the batches.
    """

    mixture: Mapping[str, float]
    seq_len: int
    num_steps: int
    tokens_per_step: int = 4096
    learning_rate: float = 3e-3
    warmup_fraction: float = 0.05
    weight_decay: float = 0.1
    max_grad_norm: float = 1.0
    seed: int = 0


def byte_tokenizer(separator: str) -> tokenizers.Tokenizer:
    """Returns a tokenizer with one token a byte, and the separator."""
    return _byte_level_bpe(separator, ())


def bpe_tokenizer(
    texts: tuple[str, ...],
    vocab_size: int,
    separator: str,
    *,
    split_words: bool = True,
) -> tokenizers.Tokenizer:
    """Returns a byte-level BPE tokenizer trained on the texts.

    Args:
      texts: What it learns its merges from.
      vocab_size: At most that many tokens, the separator among them.
      separator: A special token.
      split_words: Whether tokens end where words do, as GPT-2's; otherwise one
        token may span several words, or the end of a line and what follows.

    Source: Sennrich et al., arXiv 1508.07909; byte level as in GPT-2.
    """
    return _byte_level_bpe(separator, texts, vocab_size, split_words)


def _byte_level_bpe(
    separator: str,
    texts: tuple[str, ...],
    vocab_size: int = 0,
    split_words: bool = True,
) -> tokenizers.Tokenizer:
    byte_level = tokenizers.pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=split_words
    )
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = byte_level
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[separator],
        initial_alphabet=sorted(byte_level.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def token_streams(
    corpus: Corpus, tokenizer: tokenizers.Tokenizer, separator: str
) -> dict[str, np.ndarray]:
    """Returns the tokens of each domain, uint16, a separator before each text.

    Raises:
      ValueError: The vocabulary does not fit 16 bits.
    """
    if tokenizer.get_vocab_size() > 2**16:
        raise ValueError(f"vocabulary {tokenizer.get_vocab_size()} > 65,536")
    start = tokenizer.token_to_id(separator)
    by_domain: dict[str, list[int]] = {}
    encodings = tokenizer.encode_batch_fast(
        list(corpus.texts), add_special_tokens=False
    )
    for domain, encoding in zip(corpus.domains, encodings, strict=True):
        by_domain.setdefault(domain, []).extend([start, *encoding.ids])
    return {d: np.array(ids, np.uint16) for d, ids in by_domain.items()}


def batch(
    streams: Mapping[str, np.ndarray], recipe: Recipe, step: int
) -> np.ndarray:
    """Returns the batch of a step, int32 [B, T + 1]: seed and step fix it."""
    rng = np.random.default_rng([recipe.seed, step])
    domains = list(recipe.mixture)
    shares = np.array([recipe.mixture[domain] for domain in domains])
    num_rows = recipe.tokens_per_step // recipe.seq_len
    length = recipe.seq_len + 1
    rows = []
    for index in rng.choice(len(domains), num_rows, p=shares / shares.sum()):
        stream = streams[domains[index]]
        start = rng.integers(len(stream) - length + 1)
        rows.append(stream[start : start + length])
    return np.stack(rows).astype(np.int32)


def train(
    config: transformers.PreTrainedConfig,
    streams: Mapping[str, np.ndarray],
    recipe: Recipe,
    checkpoint_dir: pathlib.Path,
    *,
    name: str,
) -> tuple[models.layers.LanguageModel, dict[str, float]]:
    """Returns a trained model and its last losses; resumes after a kill.

    Training begins anew with another config, tokens or recipe. More steps are
    another recipe, because each learning rate depends on their number.

    Args:
      config: Hugging Face's config of a ported family.
      streams: Tokens of each domain, as `token_streams` returns them.
      recipe: How to train.
      checkpoint_dir: Folder of the newest state of each recipe.
      name: Text before the progress bar.

    Returns:
      The model, and `train_loss_nats` (mean over the last tenth of the steps,
      per token) with `seconds` (of training, restarts included).

    Raises:
      BlockingIOError: Another run is at the same training.
      ValueError: The state on disk is damaged.
    """
    model = models.build(config, rngs=nnx.Rngs(recipe.seed))
    graph, params = nnx.split(model)
    optimizer = _optimizer(recipe)

    def loss(params: nnx.State, tokens: jax.Array) -> jax.Array:
        logits = nnx.merge(graph, params)(tokens[:, :-1])
        losses = optax.softmax_cross_entropy_with_integer_labels(
            logits.astype(jnp.float32), tokens[:, 1:]
        )
        return losses.mean()

    @jax.jit
    def update(params, moments, tokens):
        value, gradient = jax.value_and_grad(loss)(params, tokens)
        updates, moments = optimizer.update(gradient, moments, params)
        return optax.apply_updates(params, updates), moments, value

    moments = optimizer.init(params)
    losses, seconds = np.zeros(recipe.num_steps), 0.0

    def state():
        return {
            "params": nnx.to_pure_dict(params),
            "moments": moments,
            "losses": losses,
            "seconds": np.array(seconds),
        }

    folder = checkpoint_dir / _recipe_digest(config, streams, recipe)[:16]
    with (
        scores.locked(folder, "training"),
        cache.saved_by_orbax(folder),
        _manager(folder) as m,
    ):
        first = m.latest_step() or 0
        if first:
            saved = _restored(m, first, state(), folder)
            nnx.replace_by_pure_dict(params, saved["params"])
            moments = saved["moments"]
            losses, seconds = np.array(saved["losses"]), float(saved["seconds"])
        started, every = time.monotonic() - seconds, recipe.num_steps // 5 or 1
        bar = tqdm.trange(
            first, recipe.num_steps, desc=name, initial=first, mininterval=5.0
        )
        for step in bar:
            tokens = jnp.asarray(batch(streams, recipe, step))
            params, moments, value = update(params, moments, tokens)
            losses[step] = value
            if (step + 1) % every == 0 or step + 1 == recipe.num_steps:
                bar.set_postfix(loss_nats=f"{losses[step]:.3f}")
                seconds = time.monotonic() - started
                saved = {"state": state(), "digest": _digest(state())}
                m.save(step + 1, args=ocp.args.StandardSave(saved))
    last = losses[-max(1, recipe.num_steps // 10) :]
    nnx.update(model, params)
    return model, {"train_loss_nats": float(last.mean()), "seconds": seconds}


def _recipe_digest(
    config: transformers.PreTrainedConfig,
    streams: Mapping[str, np.ndarray],
    recipe: Recipe,
) -> str:
    """Returns the SHA-256 of all that a training depends on."""
    facts = recipe._asdict() | {"mixture": list(recipe.mixture.items())}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    digest.update(config.to_json_string(use_diff=False).encode())
    for domain in sorted(streams):
        stream = np.ascontiguousarray(streams[domain])
        digest.update(f"{domain} {stream.dtype} {stream.size}".encode())
        digest.update(stream.data)
    return digest.hexdigest()


def _manager(folder: pathlib.Path) -> ocp.CheckpointManager:
    """Returns what keeps the states of a training, damaged ones refused."""
    options = ocp.CheckpointManagerOptions(max_to_keep=1)
    try:
        return ocp.CheckpointManager(folder.absolute(), options=options)
    except RecursionError as error:  # Nesting without end in its metadata.
        raise ValueError(_damaged(folder)) from error


def _restored(
    manager: ocp.CheckpointManager,
    step: int,
    state: dict[str, Any],
    folder: pathlib.Path,
) -> dict[str, Any]:
    """Returns the state after a step; a flipped bit in it is an error."""
    like = {"state": state, "digest": _digest(state)}
    try:
        saved = manager.restore(step, args=ocp.args.StandardRestore(like))
    except MemoryError:
        raise
    except Exception as error:  # Orbax and TensorStore raise of all types.
        cache.ignore_late_words()
        raise ValueError(_damaged(folder)) from error
    if not np.array_equal(saved["digest"], _digest(saved["state"])):
        raise ValueError(_damaged(folder))
    return saved["state"]


def _damaged(folder: pathlib.Path) -> str:
    return (
        f"{folder}: the state of this training is damaged; delete the folder "
        "to train from the beginning"
    )


def _digest(state: dict[str, Any]) -> np.ndarray:
    """Returns the SHA-256 of all arrays of a state, uint8 [32]."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(leaf).data)
    return np.frombuffer(digest.digest(), np.uint8).copy()


def _optimizer(recipe: Recipe) -> optax.GradientTransformation:
    schedule = optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=recipe.learning_rate,
        warmup_steps=round(recipe.warmup_fraction * recipe.num_steps),
        decay_steps=recipe.num_steps,
        end_value=0.1 * recipe.learning_rate,
    )
    return optax.chain(
        optax.clip_by_global_norm(recipe.max_grad_norm),
        optax.adamw(
            schedule,
            b2=0.95,
            weight_decay=recipe.weight_decay,
            # Stacked layers give vectors two axes: go by the name.
            mask=lambda params: jax.tree_util.tree_map_with_path(
                lambda path, _: _is_matrix(jax.tree_util.keystr(path)), params
            ),
        ),
    )


def _is_matrix(path: str) -> bool:
    return any(name in path for name in ("kernel", "embedding", "weight"))


def save_folder(
    model: models.layers.LanguageModel,
    tokenizer: tokenizers.Tokenizer,
    separator: str,
    facts: Mapping[str, object],
    folder: pathlib.Path,
) -> None:
    """Writes a Hugging Face folder: weights in float16, tokenizer, facts.

    Args:
      model: The trained model.
      tokenizer: Tokenizer of the model.
      separator: The special token that precedes every text.
      facts: What `training.json` says of the training.
      folder: Where to write; `model.safetensors` comes last, so that a folder
        that holds it is complete.
    """
    with at_once.alone(folder):
        for left in folder.glob("*.????????.tmp"):
            left.unlink()  # By a run that was killed.
        _save_folder(model, tokenizer, separator, facts, folder)


def _save_folder(model, tokenizer, separator, facts, folder) -> None:
    """Writes into a folder in which no other run writes."""
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=separator, eos_token=separator
    )
    try:
        wrapped.save_pretrained(folder)
    except Exception as error:  # That of tokenizers is of its own type.
        raise disk.failure(folder, error) from error
    with at_once.replaced(folder / "training.json") as partial:
        partial.write_text(json.dumps(facts, indent=1) + "\n")
    models.save(model, folder, dtype=jnp.float16)


def unigram_bits_per_byte(
    counts: np.ndarray, tokens: list[np.ndarray], num_bytes: np.ndarray
) -> float:
    """Returns the loss of token frequencies in bits per byte, mean over texts.

    loss = mean over x of -sum_t log2 p(t) / bytes_x, p(t) = (n_t + 1) / sum

    Args:
      counts: Number of times n that each token occurs in the training data,
        [V].
      tokens: Tokens of each text, X arrays [num_tokens].
      num_bytes: Number of bytes of each text, [X].

    >>> unigram_bits_per_byte(np.array([0, 2]), [np.array([0, 0])], [4])
    1.0
    """
    log2_p = np.log2(counts + 1.0) - np.log2((counts + 1.0).sum())
    bits = np.array([-log2_p[row].sum() for row in tokens])
    return float(np.mean(bits / np.asarray(num_bytes)))
