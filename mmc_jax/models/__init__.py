"""Language models in Flax NNX, one family a file.

Each family is a Python module with
  `CausalLM`: the model; `CausalLM(config, rngs=...)` takes Hugging Face's
      config object, `model(tokens)` returns logits [B, T, V],
      `model.hidden_states(tokens)` what stands before the head, [B, T, D], and
      `model.logits(hidden)` applies the head to any part of it;
  `PREFIX`: what precedes the names of all tensors but the head's;
  `LAYERS`: the name of the stack of layers; where there are several, or
      stacks of experts inside, `stacks(config)` instead: {path:
      layers.Stack(its last name in files, the number of each row)};
  `IGNORED`: patterns of tensors that a checkpoint may hold and no port needs;
  `IRRELEVANT`, where there are any: config attributes that published files of
      the family hold and that do not change its logits.
"""

import types

from mmc_jax.models import (
    gpt2,
    gpt_neox,
    granite,
    llama,
    mamba,
    nemotron,
    olmo,
    phi,
    phi3,
    qwen2,
    qwen3,
    smollm3,
    stablelm,
    starcoder2,
)

# Hugging Face's model_type -> the family's module.
FAMILIES: dict[str, types.ModuleType] = {
    "gpt2": gpt2,
    "gpt_neox": gpt_neox,
    "granite": granite,
    "llama": llama,
    "mamba": mamba,
    "mistral": llama,
    "nemotron": nemotron,
    "olmo": olmo,
    "phi": phi,
    "phi3": phi3,
    "qwen2": qwen2,
    "qwen3": qwen3,
    "smollm3": smollm3,
    "stablelm": stablelm,
    "starcoder2": starcoder2,
}

# Loading looks the family up in the table above.
from mmc_jax.models.loading import (  # noqa: E402
    build,
    load,
    num_params,
    save,
)

__all__ = ["FAMILIES", "build", "load", "num_params", "save"]
