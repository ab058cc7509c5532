"""Language models in Flax NNX.

Each family of `families/` is a Python module with
  `CausalLM`: the model; `CausalLM(config, rngs=...)` takes Hugging Face's
      config object, `model(tokens)` returns logits [B, T, V],
      `model.hidden_states(tokens)` what stands before the head, [B, T, D], and
      `model.logits(hidden)` applies the head to any positions of it;
  `PREFIX`: the beginning of the names of all tensors but the head's;
  `LAYERS`: the name of the stack of layers. A family with several stacks, or
      with stacks of experts inside, has `stacks(config)` instead, which returns
      {path: layers.Stack(its last name in files, the number of each row)};
  `IGNORED`: patterns of tensors that a checkpoint may hold and no port needs;
and, where it needs them,
  `FUSED`, `JOINED` and `OTHER_NAMES`: tensors that files hold together, apart
      or under other names (see `pieces`);
  `RENAMED`: other checkpoints' names: {the beginning of a name in the file: the
      port's};
  `INERT`: config attributes that transformers declares or reads and that the
      port need not read: {attribute: the reason};
  `UNDECLARED`: config attributes that the port reads because transformers'
      modelling code does, though its config class does not declare them;
  `PER_LAYER`: config attributes that may differ from layer to layer, by
      `per_layer_config`;
  `KERNELS`: config attributes that name a program which computes the same, and
      whose values transformers knows only where other packages are;
  `ROTARY`: names in `rope_parameters` that only this family reads;
  `TRANSPOSED`: true where linear layers are stored as [in, out], which adapters
      have to know;
  `SHARDING`: rules for splitting the parameters over a mesh, where those of
      LLaMA's names (`sharding.RULES`) do not match.
"""

from mmc_jax.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "families": ["FAMILIES"],
        "loading": ["load", "num_params", "save"],
        "shapes": ["abstract", "build", "memory"],
    },
    submodules=["layers", "loading", "shapes"],
)
