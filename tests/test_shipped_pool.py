"""The shipped pool: what the quickstart rests on."""

import pathlib
import tempfile

import jax
import numpy as np
import torch
import transformers
from absl.testing import absltest, parameterized

from mmc_jax import corpus, frontier, models, oracle, pool, scores, scoring
from tests import tolerances

_FAMILIES = ("gpt2", "gpt_neox", "llama", "qwen3", "mamba")
_MAX_BYTES = 16_000_000
# Windows of one length, in all tests: a program a model is compiled.
_SETTINGS = scoring.Settings(max_context=64)


class PoolTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.pool = pool.read("stdlib20")

    def test_what_ships(self):
        params = {family: [] for family in _FAMILIES}
        num_bytes = 0
        for model in self.pool.models:
            params[model.family].append(models.num_params(model.checkpoint))
            folder = pathlib.Path(model.checkpoint)
            num_bytes += sum(f.stat().st_size for f in folder.iterdir())
        with self.subTest("at least 4 sizes a family"):
            for family, sizes in params.items():
                self.assertGreaterEqual(len(set(sizes)), 4, family)
        with self.subTest("from 30 thousand to over a million"):
            sizes = [size for line in params.values() for size in line]
            self.assertLess(min(sizes), 40_000)
            self.assertGreater(max(sizes), 1_000_000)
        with self.subTest("small enough"):
            self.assertLess(num_bytes, _MAX_BYTES)

    def test_frontier_of_6_models_is_exact(self):
        """Pruning finds the whole frontier of the quickstart's models."""
        chosen = self.pool.select(
            [m.name for m in self.pool.models if m.name.endswith("30k")]
            + ["qwen3-1m"]
        )
        num_models = len(chosen.models)
        self.assertEqual(num_models, 6)
        texts = corpus.embedded("held_out").sample(8)
        table = _scored(chosen, texts)
        losses = table.losses("text_length")
        costs = table.costs("num_params")
        found = frontier.pruned(losses, costs)
        with self.subTest("pruned equals exhaustive"):
            exact = frontier.exhaustive(losses, costs)
            jax.tree.map(np.testing.assert_array_equal, found, exact)
        with self.subTest("and both equal a plain loop over all subsets"):
            numbers = np.arange(1, 2**num_models)
            best_cost, best_loss = [], []
            least = {0: np.full(len(texts), np.inf)}
            points = []
            for number in numbers:
                low = number & -number
                m = int(low).bit_length() - 1
                least[number] = np.minimum(least[number ^ low], losses[m])
                subset_cost = sum(
                    costs[i] for i in range(num_models) if number >> i & 1
                )
                points.append((subset_cost, least[number].mean()))
            smallest = np.inf
            for cost, loss in sorted(points):
                if loss < smallest - tolerances.MEAN_OF_LOSSES * loss:
                    best_cost.append(cost)
                    best_loss.append(loss)
                    smallest = loss
            np.testing.assert_array_equal(found.costs, best_cost)
            np.testing.assert_allclose(
                found.losses, best_loss, rtol=tolerances.MEAN_OF_LOSSES
            )
        with self.subTest("the pool beats its best model"):
            everything = oracle.oracle_losses(
                losses, np.ones((1, num_models), bool)
            )
            self.assertLess(float(everything[0]), losses.mean(axis=1).min())

    @parameterized.parameters(*_FAMILIES)
    def test_nll_equals_pytorch(self, family):
        model = self.pool.select([f"{family}-30k"])
        checkpoint = model.models[0].checkpoint
        texts = corpus.embedded("held_out").sample(2)
        table = _scored(model, texts)
        network = transformers.AutoModelForCausalLM.from_pretrained(
            checkpoint, dtype="float32"
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
        context = _SETTINGS.max_context
        for x, text in enumerate(texts.texts):
            tokens = tokenizer(text, add_special_tokens=False).input_ids
            expected = _nll(network, tokenizer.bos_token_id, tokens, context)
            np.testing.assert_allclose(
                table.nll_nats[0, x], expected, rtol=tolerances.TEXT_NLL
            )


def _scored(models_, texts) -> scores.ScoreTable:
    return scoring.score(models_, texts, tempfile.mkdtemp(), settings=_SETTINGS)


def _nll(network, prefix, tokens, context) -> float:
    """Returns the nll of a text by PyTorch, windows of half a context."""
    total, done = 0.0, 0
    while done < len(tokens):
        end = min(len(tokens), done + (context if not done else context // 2))
        start = max(0, end - context)
        window = [prefix, *tokens[start:end]]
        with torch.no_grad():
            logits = network(torch.tensor([window[:-1]])).logits[0].double()
        log_probs = logits.log_softmax(-1)
        for position in range(done - start, end - start):
            total -= float(log_probs[position, window[position + 1]])
        done = end
    return total


if __name__ == "__main__":
    absltest.main()
