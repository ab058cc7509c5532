import doctest

import numpy as np
import transformers
from absl.testing import absltest, parameterized

from mmc_jax.scoring import windows

_PREFIX = 1000
_CASES = [
    dict(
        testcase_name=f"_{context}_{stride}{'_prefix' if prefix else ''}",
        context=context,
        stride=stride,
        prefix=prefix,
    )
    for context in (1, 2, 3, 8, 13)
    for stride in sorted({1, max(1, context // 2), context})
    for prefix in (_PREFIX, None)
]


class NativeContextTest(parameterized.TestCase):
    @parameterized.parameters(
        (transformers.GPT2Config(n_positions=1000), 1000),
        (transformers.MptConfig(max_seq_len=1001), 1001),
        (transformers.RwkvConfig(context_length=1002), 1002),
        (transformers.BloomConfig(seq_length=1003), 1003),
        (transformers.MambaConfig(), None),
        (
            transformers.Phi3Config(
                max_position_embeddings=131072,
                original_max_position_embeddings=4096,
                pad_token_id=None,
                rope_parameters=dict(
                    rope_type="longrope",
                    rope_theta=10000.0,
                    short_factor=[1.0] * 48,
                    long_factor=[2.0] * 48,
                    original_max_position_embeddings=4096,
                ),
            ),
            4096,
        ),
    )
    def test_by_family(self, config, expected):
        self.assertEqual(windows.native_context(config), expected)
        name = windows.context_attribute(config)
        self.assertEqual(name is None, expected is None)
        if name is not None:
            self.assertEqual(getattr(config, name), expected)


class WindowsTest(parameterized.TestCase):
    def test_examples_of_the_docstrings(self):
        result = doctest.testmod(windows)
        self.assertEqual(result.failed, 0)
        self.assertGreater(result.attempted, 0)

    @parameterized.named_parameters(*_CASES)
    def test_each_token_is_scored_once(self, context, stride, prefix):
        for num_tokens in range(1, 3 * context + 2):
            tokens = np.arange(num_tokens, dtype=np.int32)
            scored = []
            for window in windows.plan(
                num_tokens, context, stride, has_prefix=prefix is not None
            ):
                _, targets, first = windows.model_input(tokens, window, prefix)
                self.assertGreaterEqual(first, 0)
                scored += targets[first:].tolist()
            unscored = 1 if prefix is None else 0
            self.assertEqual(scored, list(range(unscored, num_tokens)))

    @parameterized.named_parameters(*_CASES)
    def test_what_the_model_sees(self, context, stride, prefix):
        num_tokens = 3 * context + 1
        tokens = np.arange(num_tokens, dtype=np.int32)
        plan = windows.plan(
            num_tokens, context, stride, has_prefix=prefix is not None
        )
        for i, window in enumerate(plan):
            inputs, targets, first = windows.model_input(tokens, window, prefix)
            with self.subTest("a window fills the context", window=window):
                self.assertLen(inputs, context)
                self.assertLen(targets, context)
            with self.subTest("a target follows its input", window=window):
                seen = inputs if prefix is None else inputs[1:]
                np.testing.assert_array_equal(
                    seen, targets[context - len(seen) :] - 1
                )
            with self.subTest("the prefix is in each window", window=window):
                if prefix is not None:
                    self.assertEqual(inputs[0], prefix)
                self.assertNotIn(_PREFIX, targets)
            with self.subTest("the first scores all", window=window):
                if i == 0:
                    self.assertEqual(first, 0)
            with self.subTest("later ones score the stride", window=window):
                if 0 < i < len(plan) - 1:
                    self.assertEqual(context - first, stride)

    @parameterized.parameters(1, 5, 8)
    def test_a_text_that_fits_is_one_window(self, num_tokens):
        for has_prefix in (True, False):
            plan = windows.plan(num_tokens, 8, 4, has_prefix=has_prefix)
            self.assertLen(plan, 1 if has_prefix or num_tokens > 1 else 0)

    def test_without_a_prefix_one_more_token_fits(self):
        # Eight positions see the first eight of nine tokens.
        self.assertLen(windows.plan(9, 8, 4, has_prefix=False), 1)
        self.assertLen(windows.plan(9, 8, 4, has_prefix=True), 2)

    def test_by_hand_with_prefix(self):
        tokens = np.arange(10, 18, dtype=np.int32)
        plan = windows.plan(8, context=4, stride=3, has_prefix=True)
        self.assertEqual(plan, [(0, 4, 0), (3, 7, 4), (4, 8, 7)])
        rows = [windows.model_input(tokens, window, 99) for window in plan]
        expected = [
            ([99, 10, 11, 12], [10, 11, 12, 13], 0),
            ([99, 13, 14, 15], [13, 14, 15, 16], 1),
            ([99, 14, 15, 16], [14, 15, 16, 17], 3),
        ]
        self.assertEqual(
            [(a.tolist(), b.tolist(), first) for a, b, first in rows], expected
        )

    def test_by_hand_without_prefix(self):
        tokens = np.arange(10, 17, dtype=np.int32)
        plan = windows.plan(7, context=3, stride=2, has_prefix=False)
        self.assertEqual(plan, [(0, 4, 1), (2, 6, 4), (3, 7, 6)])
        rows = [windows.model_input(tokens, window, None) for window in plan]
        expected = [
            ([10, 11, 12], [11, 12, 13], 0),
            ([12, 13, 14], [13, 14, 15], 1),
            ([13, 14, 15], [14, 15, 16], 2),
        ]
        self.assertEqual(
            [(a.tolist(), b.tolist(), first) for a, b, first in rows], expected
        )

    @parameterized.parameters((4, 0), (4, -1), (4, 5), (0, 0), (0, 1))
    def test_refused(self, context, stride):
        with self.assertRaisesRegex(
            ValueError, f"context {context} and stride {stride}"
        ):
            windows.plan(7, context, stride, has_prefix=True)


if __name__ == "__main__":
    absltest.main()
