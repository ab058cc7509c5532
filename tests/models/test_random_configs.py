"""One attribute of each family's config, changed at random.

A port may refuse the change, or follow it as PyTorch does; it must not compute
something else in silence.
"""

import json
import pathlib
import tempfile
import zlib

import jax
import numpy as np
import torch
import transformers
from absl.testing import absltest, parameterized

from mmc_jax import models
from tests import tolerances
from tests.models import test_parity
from tests.models.cases import CASES

# Not of the model but of the file and of programs around it; and sizes that
# would only make it large.
_LEFT_ALONE = (
    "architectures",
    "dtype",
    "initializer_range",
    "model_type",
    "transformers_version",
    "use_cache",
)

# Weights are arguments: as constants XLA would compute with them for long.
_forward = jax.jit(lambda model, tokens: model(tokens))


def _changed(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    return 1.5 * value + 0.1 if isinstance(value, float) else "moon"


class RandomConfigTest(parameterized.TestCase):
    @parameterized.named_parameters((name, name) for name in CASES)
    def test_refused_or_followed(self, model_type):
        rng = np.random.default_rng(zlib.crc32(model_type.encode()))
        config = test_parity.make_config(model_type)
        reference = test_parity.make_reference(config, perturbed=True)
        folder = tempfile.mkdtemp()
        reference.save_pretrained(folder)
        file = pathlib.Path(folder, "config.json")
        settings = json.loads(file.read_text())
        names = [
            name
            for name, value in settings.items()
            if isinstance(value, bool | int | float | str)
            and name not in _LEFT_ALONE
            and not name.endswith("token_id")
        ]
        name = str(rng.choice(names))
        settings[name] = _changed(settings[name])
        file.write_text(json.dumps(settings))
        try:
            model = models.load(folder)
        except ValueError as error:
            self.assertNotEmpty(str(error))
            return
        changed = transformers.AutoModelForCausalLM.from_pretrained(
            folder,
            attn_implementation=reference.config._attn_implementation,
        ).eval()
        tokens = test_parity.random_tokens(model_type, 1, 77)
        with torch.no_grad():
            expected = test_parity.reference_logits(changed, tokens)
        self.assertLess(
            test_parity.error(_forward(model, tokens), expected),
            tolerances.PARITY_LOGITS,
            f"{name}={settings[name]!r} is neither refused nor followed",
        )


if __name__ == "__main__":
    absltest.main()
