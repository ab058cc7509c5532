import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import corpus, diversity, scores
from tests.frontier import brute_force


def table_of(
    nll,
    families=None,
    num_tokens=None,
    num_chars=0,
    round_trips=None,
    provenance=None,
):
    """A table of bare scores; counts if the tokens of each model are given."""
    num_models, num_texts = np.shape(nll)
    if num_tokens is not None:
        num_tokens = np.tile(np.reshape(num_tokens, (-1, 1)), num_texts)
    return scores.ScoreTable(
        models=tuple(
            scores.ScoredModel(
                f"m{m}",
                family=families[m] if families else "",
                provenance=(provenance or {}).get(m, {}),
            )
            for m in range(num_models)
        ),
        texts=corpus.Corpus(
            ids=tuple(f"t{x}" for x in range(num_texts)),
            domains=("",) * num_texts,
            num_bytes=np.zeros(num_texts, int),
            num_chars=np.full(num_texts, num_chars),
            sha256=("",) * num_texts,
            texts=None,
        ),
        nll_nats=np.asarray(nll, float),
        num_tokens=num_tokens,
        num_scored=num_tokens,
        round_trips=round_trips,
    )


def found_in(table, normalisation="raw", **options):
    """Returns the findings by what they are about."""
    found = {}
    for finding in diversity.diagnosis(
        table, normalisation=normalisation, **options
    ):
        found.setdefault(finding.about, []).append(finding)
    return found


class GainTest(absltest.TestCase):
    def test_one_model_wins_everywhere(self):
        losses, _ = brute_force.pool(4, 30, 1)
        losses[2] = losses.min(axis=0) - 0.1
        found = found_in(table_of(losses))
        self.assertEqual(found["winner"][0].models, ("m2",))
        self.assertIn("m2 is the best on every", found["winner"][0].words)
        self.assertIn("exactly 0", found["gain"][0].words)
        self.assertEqual(found["redundant"][0].models, ("m0", "m1", "m3"))
        self.assertNotIn("core", found)

    def test_the_gain_of_a_pool(self):
        found = found_in(table_of([[1.0, 4.0], [3.0, 1.0], [4.0, 4.0]]))
        self.assertNotIn("winner", found)
        words = found["gain"][0].words
        self.assertIn("together lose 1.0000, 1 (50 percent) less", words)
        self.assertEqual(found["gain"][0].models[0], "m1")


class DuplicatesTest(absltest.TestCase):
    def test_under_two_families(self):
        losses, _ = brute_force.pool(4, 30, 2)
        losses[3] = losses[1]
        found = found_in(table_of(losses, families=["a", "b", "c", "d"]))
        (finding,) = found["duplicates"]
        self.assertEqual(finding.models, ("m1", "m3"))
        self.assertIn("under the families b and d", finding.words)
        alike = found_in(table_of(losses, families=["a", "b", "c", "b"]))
        self.assertNotIn("families", alike["duplicates"][0].words)

    def test_listed_twice(self):
        losses, _ = brute_force.pool(3, 5, 3)
        table = table_of(
            losses,
            families=["a", "b", "c"],
            provenance={1: {"families": ["b", "x"]}},
        )
        (finding,) = found_in(table)["listed twice"]
        self.assertEqual(finding.models, ("m1",))
        self.assertIn("under the families b and x", finding.words)

    def test_none(self):
        losses, _ = brute_force.pool(3, 5, 3)
        found = found_in(table_of(losses))
        self.assertNotIn("duplicates", found)
        self.assertNotIn("listed twice", found)


class RedundantTest(absltest.TestCase):
    def test_against_leaving_out(self):
        losses, _ = brute_force.pool(8, 200, 4)
        found = found_in(table_of(losses), redundant_share=0.1)
        gain = losses.mean(axis=1).min() - losses.min(axis=0).mean()
        expected = [
            f"m{i}"
            for i in range(8)
            if np.delete(losses, i, 0).min(0).mean() - losses.min(0).mean()
            <= 0.1 * gain
        ]
        self.assertNotEmpty(expected)
        self.assertEqual(list(found["redundant"][0].models), expected)
        core = [int(name[1:]) for name in found["core"][0].models]
        lost = losses[core].min(0).mean() - losses.min(0).mean()
        self.assertLessEqual(lost, 0.1 * gain)
        for i in core:
            rest = losses[[j for j in core if j != i]].min(axis=0).mean()
            self.assertGreater(rest - losses.min(0).mean(), 0.1 * gain)

    def test_a_duplicate_stays_once(self):
        losses, _ = brute_force.pool(3, 60, 5)
        losses = np.concatenate([losses, losses])
        found = found_in(table_of(losses), redundant_share=1e-6)
        self.assertLen(found["redundant"][0].models, 6)
        self.assertEqual(found["core"][0].models, ("m0", "m1", "m2"))


class HardTextsTest(absltest.TestCase):
    def test_hard_for_all(self):
        losses = np.random.default_rng(6).random((5, 100))
        losses[:, [7, 40]] += 10
        losses[0, 50] += 20  # Hard for one model only.
        losses[:, 40] += 1
        (finding,) = found_in(table_of(losses), hard_share=0.04)["hard texts"]
        self.assertEqual(finding.texts, ("t40", "t7"))
        self.assertIn("2 of 100 texts", finding.words)

    def test_all_alike(self):
        self.assertNotIn("hard texts", found_in(table_of(np.ones((3, 50)))))


class TokenizersTest(absltest.TestCase):
    def test_longer_tokens_rank_worse_per_token(self):
        nll = np.arange(1.0, 7.0)[:, None] * np.ones((6, 4))
        num_tokens = [1, 6, 6, 6, 6, 6]  # m0: few long tokens.
        table = table_of(nll, num_tokens=num_tokens, num_chars=12)
        (finding,) = found_in(table, "nats_per_char")["tokenizers"]
        self.assertEqual(finding.models, ("m0",))
        self.assertIn(
            "m0 is number 5.5 per token and number 1 per character (12.00",
            finding.words,
        )

    def test_one_tokenizer(self):
        losses, _ = brute_force.pool(6, 30, 7)
        table = table_of(losses, num_tokens=[3] * 6, num_chars=12)
        found = found_in(table, "text_length")
        self.assertNotIn("tokenizers", found)
        self.assertNotIn("not fair", found)
        self.assertIn("not fair", found_in(table, "nats_per_token"))

    def test_counts_not_known(self):
        found = found_in(table_of([[1.0, 2.0]]))
        words = " ".join(finding.words for finding in found["not checked"])
        self.assertIn("does not know how many tokens", words)


class RoundTripsTest(absltest.TestCase):
    def test_models_and_texts_are_named(self):
        back = np.ones((3, 4), bool)
        back[1, [0, 3]] = False
        losses, _ = brute_force.pool(3, 4, 8)
        (finding,) = found_in(table_of(losses, round_trips=back))["round trips"]
        self.assertEqual(finding.models, ("m1",))
        self.assertEqual(finding.texts, ("t0", "t3"))
        self.assertIn("2 of 4 texts", finding.words)


class ArgumentsTest(parameterized.TestCase):
    @parameterized.parameters("redundant_share", "hard_share", "rank_shift")
    def test_shares(self, name):
        for share in (0, 1, -0.5, float("nan")):
            with self.assertRaisesRegex(ValueError, f"{name} is {share}"):
                found_in(table_of([[1.0, 2.0]]), **{name: share})


class EliminationTest(absltest.TestCase):
    def test_against_leaving_out(self):
        losses, _ = brute_force.pool(6, 80, 9)
        found = diversity.elimination(losses)
        left = list(range(6))
        for model, loss in zip(found.order, found.losses, strict=True):
            self.assertAlmostEqual(loss, losses[left].min(0).mean(), places=12)
            if len(left) == 1:
                break
            without = {
                i: losses[[j for j in left if j != i]].min(axis=0).mean()
                for i in left
            }
            self.assertEqual(model, min(without, key=without.get))
            left.remove(model)
        self.assertEqual(left, [found.order[-1]])


if __name__ == "__main__":
    absltest.main()
