"""Scores of texts by transformers on PyTorch, in batches of a given size."""

import functools
from collections.abc import Callable, Iterable, Sequence

import jax
import numpy as np
import transformers

from mmc_jax.scoring import batching

try:
    import torch
except ImportError:
    torch = None


def is_there() -> bool:
    """Returns whether PyTorch is installed."""
    return torch is not None


def where() -> str:
    """Returns the kind of device that JAX computes on, as PyTorch says it."""
    return "cuda" if jax.default_backend() == "gpu" else "cpu"


def scorers(
    folder: str,
    rows: Sequence[batching.Row],
    batches: Callable[[int], Iterable[batching.Batch]],
    *,
    dtype: str,
    num_threads: int,
    budgets: Sequence[int],
) -> dict[str, Callable[[], np.ndarray]]:
    """Returns for each budget a function that scores all texts, in nats: [X].

    The loss is PyTorch's cross entropy, float32, of the logits of a batch; rows
    and positions of padding are left out.

    Args:
      folder: Folder of the checkpoint.
      rows: Tokens of the texts, [X].
      batches: Makes batches of the rows for a token budget.
      dtype: Type of the parameters.
      num_threads: Threads of PyTorch.
      budgets: Token budgets of a batch.
    """
    torch.set_num_threads(num_threads)
    network = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, dtype), attn_implementation="sdpa"
    )
    network = network.to(where()).eval()

    def score(budget: int) -> np.ndarray:
        nll = np.zeros(len(rows))
        for batch in batches(budget):
            num_rows = len(batch.rows)
            longest = max(len(row.inputs) for row in batch.rows)
            inputs, targets = (
                torch.from_numpy(tokens[:num_rows, :longest]).to(
                    where(), torch.int64
                )
                for tokens in (batch.inputs, batch.targets)
            )
            with torch.inference_mode():
                logits = network(inputs, use_cache=False).logits.float()
                values = torch.nn.functional.cross_entropy(
                    logits.flatten(0, 1), targets.flatten(), reduction="none"
                )
            values = values.view(targets.shape).cpu().numpy()
            for row, of_row in zip(batch.rows, values, strict=True):
                scored = of_row[: len(row.targets)]
                nll[row.text] = scored.sum(dtype=np.float64)
        return nll

    return {
        f"transformers, {budget} tokens": functools.partial(score, budget)
        for budget in budgets
    }


def product(side: int, dtype: str) -> Callable[[], float]:
    """Returns a function that multiplies two large matrices by PyTorch."""
    matrix = torch.ones(side, side, dtype=getattr(torch, dtype), device=where())
    # One number is fetched: a GPU's product is then done.
    return lambda: (matrix @ matrix)[0, 0].item()
