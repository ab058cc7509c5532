"""Linear biases against those that transformers computes."""

import numpy as np
import torch
from absl.testing import absltest, parameterized
from transformers.models.bloom import modeling_bloom
from transformers.models.mpt import modeling_mpt

from mmc_jax.models import alibi
from tests import tolerances


class SlopesTest(parameterized.TestCase):
    @parameterized.parameters(1, 2, 3, 6, 16, 71, 112)
    def test_bloom_and_mpt(self, num_heads):
        # Each key's bias of a text of two tokens, then of the last but one.
        mask = torch.ones(1, 2, dtype=torch.long)
        bloom = modeling_bloom.build_alibi_tensor(
            mask, num_heads, torch.float32
        )
        mpt = modeling_mpt.build_mpt_alibi_tensor(num_heads, 2)
        slopes = alibi.slopes(num_heads)
        for expected in (bloom[:, 0, 1], -mpt[:, 0, 0]):
            np.testing.assert_allclose(
                slopes, expected, rtol=tolerances.FLOAT32_SLOPES
            )


if __name__ == "__main__":
    absltest.main()
