import itertools

import numpy as np
import scipy.stats
from absl.testing import absltest

from mmc_jax import diversity
from tests import tolerances

_FACTORS = ("mixture", "tokenizer", "seed")


def _design(num_seeds=3):
    """Two mixtures x two tokenizers x some seeds."""
    rows = list(itertools.product("ab", "cd", range(num_seeds)))
    return {
        factor: [str(row[k]) for row in rows]
        for k, factor in enumerate(_FACTORS)
    }


def _losses(levels, num_texts=60, *, seed=0, **scales):
    """Texts of their own difficulty, and what each level changes in them.

    scales: The standard deviation of what a factor's level changes; `model` is
    that of what each model has of its own.
    """
    rng = np.random.default_rng(seed)
    num_models = len(levels["seed"])
    losses = np.tile(rng.uniform(4, 6, num_texts), (num_models, 1))
    for factor, of in levels.items():
        for level in sorted(set(of)):
            change = rng.normal(0, scales.get(factor, 0.05), num_texts)
            losses[np.array(of) == level] += change
    own = rng.normal(0, scales.get("model", 0.05), losses.shape)
    return losses + own


def _domains(num_texts):
    return ["x" if x % 3 else "y" for x in range(num_texts)]


def _gain(a, b):
    return min(a.mean(), b.mean()) - np.minimum(a, b).mean()


class SimilarityTest(absltest.TestCase):
    def test_against_loops_over_the_pairs(self):
        levels = _design()
        losses = _losses(levels)
        domains = _domains(60)
        in_x = np.array(domains) == "x"
        groups = diversity.similarity(losses, levels, domains, num_resamples=3)
        with self.subTest("every set of factors that pairs differ in, once"):
            self.assertEqual(
                [group.factors for group in groups],
                [
                    ("seed",),
                    ("mixture",),
                    ("mixture", "seed"),
                    ("tokenizer",),
                    ("tokenizer", "seed"),
                    ("mixture", "tokenizer"),
                    ("mixture", "tokenizer", "seed"),
                ],
            )
        centred_of_seeds = groups[0].centred.estimate.value
        for group in groups:
            pairs = [
                (i, j)
                for i, j in itertools.combinations(range(12), 2)
                if group.factors
                == tuple(f for f in _FACTORS if levels[f][i] != levels[f][j])
            ]
            bonus, relative, by_domain, centred, better, other = (
                [],
                [],
                [],
                [],
                [],
                [],
            )
            for i, j in pairs:
                a, b = losses[i], losses[j]
                bonus.append(_gain(a, b))
                better.append(min(a.mean(), b.mean()))
                other.append(max(a.mean(), b.mean()))
                relative.append(bonus[-1] / better[-1])
                difference = a - b
                centred.append(
                    np.abs(difference - difference.mean()).mean() / 2
                )
                of_domains = sum(
                    np.sum(chosen) * min(a[chosen].mean(), b[chosen].mean())
                    for chosen in (in_x, ~in_x)
                )
                by_domain.append(better[-1] - of_domains / 60)
            with self.subTest(factors=group.factors):
                self.assertEqual(group.num_pairs, len(pairs))
                expected = {
                    "bonus": bonus,
                    "relative": relative,
                    "by_domain": by_domain,
                    "centred": centred,
                }
                for measure, of_pairs in expected.items():
                    np.testing.assert_allclose(
                        getattr(group, measure).estimate.value,
                        np.mean(of_pairs),
                        rtol=0,
                        atol=tolerances.PAIR_MEAN,
                        err_msg=measure,
                    )
                for found, of_pairs in (
                    (group.better_loss, better),
                    (group.other_loss, other),
                ):
                    np.testing.assert_allclose(
                        found, np.mean(of_pairs), rtol=tolerances.MEAN_OF_LOSSES
                    )
                for seed, found in group.bonus_by_seed.items():
                    of_seed = [
                        gain
                        for gain, pair in zip(bonus, pairs, strict=True)
                        if seed in [levels["seed"][m] for m in pair]
                    ]
                    np.testing.assert_allclose(
                        found,
                        np.mean(of_seed),
                        rtol=0,
                        atol=tolerances.PAIR_MEAN,
                    )
                if group.factors == ("seed",):
                    self.assertIsNone(group.above_seed)
                else:
                    np.testing.assert_allclose(
                        group.above_seed.estimate.value,
                        np.mean(centred) - centred_of_seeds,
                        rtol=0,
                        atol=tolerances.PAIR_MEAN,
                    )

    def test_the_interval_of_pairs_of_one_seed_is_that_of_their_means(self):
        """Where no pair shares a seed, the jackknife is the plain formula."""
        levels = _design(num_seeds=4)
        losses = _losses(levels)
        groups = diversity.similarity(
            losses, levels, _domains(60), num_resamples=200
        )
        group = next(g for g in groups if g.factors == ("mixture",))
        of_seeds = np.array(list(group.bonus_by_seed.values()))
        found = group.bonus
        with self.subTest("seeds"):
            np.testing.assert_allclose(
                found.seed_error,
                of_seeds.std(ddof=1) / 2,
                rtol=tolerances.JACKKNIFE,
            )
        with self.subTest("seeds and texts"):
            v_seed, v_text = found.seed_error**2, found.text_error**2
            freedom = (v_seed + v_text) ** 2 / (v_seed**2 / 3 + v_text**2 / 59)
            half = scipy.stats.t.ppf(0.975, freedom) * (v_seed + v_text) ** 0.5
            np.testing.assert_allclose(
                [*found.estimate[1:3]],
                [
                    found.estimate.value - half,
                    found.estimate.value + half,
                ],
                rtol=tolerances.JACKKNIFE,
            )

    def test_the_error_over_texts_is_that_of_a_mean(self):
        """With one better model throughout, the bonus is a mean over texts."""
        levels = {"mixture": list("aaabbb"), "seed": list("012012")}
        losses = _losses(levels, 400, mixture=0.5)
        losses[:3] += 0.5
        groups = diversity.similarity(
            losses, levels, _domains(400), num_resamples=1000
        )
        group = next(g for g in groups if g.factors == ("mixture",))
        of_texts = np.mean(
            [losses[3 + k] - losses[[k, 3 + k]].min(axis=0) for k in range(3)],
            axis=0,
        )
        # A standard deviation from 1,000 draws has an error of 2.2 percent.
        self.assertBetween(
            group.bonus.text_error / (of_texts.std() / 20), 0.9, 1.1
        )

    def test_planted_complementarity_is_found(self):
        """The bonus rises with what a factor changes; without it, nothing."""
        levels = _design(num_seeds=4)
        above = []
        for scale in (0.0, 0.1, 0.3):
            losses = _losses(
                levels, 300, seed=5, mixture=scale, tokenizer=0, model=0.1
            )
            groups = diversity.similarity(
                losses, levels, _domains(300), num_resamples=200
            )
            by_factors = {group.factors: group for group in groups}
            above.append(by_factors["mixture", "seed"].above_seed.estimate)
            nothing = by_factors["tokenizer", "seed"].above_seed.estimate
            self.assertBetween(0, nothing.low, nothing.high)
        with self.subTest("none"):
            self.assertBetween(0, above[0].low, above[0].high)
        with self.subTest("rises"):
            self.assertGreater(above[1].low, 0)
            self.assertGreater(above[2].low, above[1].high)

    def test_a_worse_model_adds_less_but_not_once_centred(self):
        levels = {"mixture": list("aaabbb"), "seed": list("012012")}
        losses = _losses(levels, 200)
        worse = losses + np.array([[0.1]] * 3 + [[0]] * 3)
        bonus, centred = (
            [
                getattr(groups[1], measure).estimate.value
                for groups in (
                    diversity.similarity(
                        table, levels, _domains(200), num_resamples=2
                    )
                    for table in (losses, worse)
                )
            ]
            for measure in ("bonus", "centred")
        )
        self.assertLess(bonus[1], bonus[0] / 2)
        np.testing.assert_allclose(
            centred[1], centred[0], rtol=0, atol=tolerances.PAIR_MEAN
        )

    def test_refuses(self):
        levels = _design()
        losses, domains = _losses(levels), _domains(60)
        two_seeds = _design(num_seeds=2)
        for changes, expected in (
            ({"levels": {"mixture": ["a"] * 12}}, "no seed"),
            ({"levels": {**levels, "mixture": ["a"]}}, r"levels\['mixture'\]"),
            ({"levels": {"seed": levels["seed"]}}, "models 0 and 3"),
            ({"domains": domains[:-1]}, "59 domains for 60"),
            ({"losses": losses - 10}, r"losses\[\d+, \d+\] is -.*above 0"),
            ({"losses": losses * np.nan}, "losses"),
            (
                {"losses": _losses(two_seeds), "levels": two_seeds},
                "2 seeds; .* need 3",
            ),
            (
                {
                    "losses": losses[:4],
                    "levels": {
                        "mixture": list("aabb"),
                        "seed": list("0102"),
                    },
                },
                "differ in seed, all or none have a model of seed 0",
            ),
        ):
            with self.subTest(expected):
                arguments = {
                    "losses": losses,
                    "levels": levels,
                    "domains": domains,
                    **changes,
                }
                with self.assertRaisesRegex(ValueError, expected):
                    diversity.similarity(**arguments, num_resamples=2)


if __name__ == "__main__":
    absltest.main()
