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
and, where it has any,
  `RENAMED`: other checkpoints' names: {the beginning of a name in the file: the
      port's};
  `IRRELEVANT`: config attributes that published files of the family hold and
      that do not change its logits;
  `RESTATED`: what published configs say though the port does it anyway and
      transformers never reads it: {attribute: the only value};
  `SHARDING`: rules for splitting its parameters over a mesh, where those of
      LLaMA's names (`sharding.RULES`) do not do;
  `UNDECLARED`: attributes that config files hold and that count, though Hugging
      Face's config class lacks them.
"""

from mmc_jax.models.families import FAMILIES
from mmc_jax.models.loading import (
    abstract,
    build,
    load,
    memory,
    num_params,
    save,
)

__all__ = [
    "FAMILIES",
    "abstract",
    "build",
    "load",
    "memory",
    "num_params",
    "save",
]
