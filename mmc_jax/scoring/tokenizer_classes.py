"""Special tokens that transformers' tokenizer classes have by themselves.

A folder's files may name none: a bare vocabulary of GPT-2's kind, say. Then the
class counts that transformers 4.57 would make: the one that tokenizer_config
names, else the one of the model's type.
"""

from collections.abc import Mapping
from typing import Any

_END = "<|endoftext|>"
# The tokens that begin and end a text, by the class's name without "Fast".
_SPECIAL: Mapping[str, tuple[str | None, str]] = {
    "BloomTokenizer": ("<s>", "</s>"),
    "CodeGenTokenizer": (_END, _END),
    "CodeLlamaTokenizer": ("<s>", "</s>"),
    "CohereTokenizer": ("<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>"),
    "GPT2Tokenizer": (_END, _END),
    "GPTNeoXTokenizer": (_END, _END),
    "GemmaTokenizer": ("<bos>", "<eos>"),
    "LlamaTokenizer": ("<s>", "</s>"),
    "Qwen2Tokenizer": (None, _END),
    "XGLMTokenizer": ("<s>", "</s>"),
}
_MODEL_TYPES = {
    "BloomTokenizer": "bloom",
    "CodeGenTokenizer": "phi",
    "CohereTokenizer": "cohere cohere2",
    "GPT2Tokenizer": "gpt2 gpt_neo gptj granite olmo3 olmo_hybrid opt "
    "starcoder2",
    "GPTNeoXTokenizer": "falcon_mamba gpt_neox mamba mamba2 mpt olmo olmo2 "
    "olmoe rwkv stablelm",
    "GemmaTokenizer": "gemma gemma2 gemma3 gemma3_text recurrent_gemma",
    "LlamaTokenizer": "deepseek_v2 llama mistral mixtral phi3",
    "Qwen2Tokenizer": "qwen2 qwen2_moe qwen3 qwen3_5 qwen3_5_moe "
    "qwen3_5_moe_text qwen3_5_text qwen3_moe qwen3_next",
    "XGLMTokenizer": "xglm",
}
_CLASSES = {
    model_type: name
    for name, model_types in _MODEL_TYPES.items()
    for model_type in model_types.split()
}


def class_name(
    tokenizer_config: Mapping[str, Any], model_config: Mapping[str, Any]
) -> str | None:
    """Returns the class that transformers 4.57 makes, without "Fast".

    Args:
      tokenizer_config: Content of tokenizer_config.json.
      model_config: Content of config.json.
    """
    stated = tokenizer_config.get("tokenizer_class")
    if isinstance(stated, str) and stated:
        return stated.removesuffix("Fast")
    return _CLASSES.get(str(model_config.get("model_type")))


def special_tokens(name: str | None) -> dict[str, str | None]:
    """Returns the tokens that a class has where no file names any, by role.

    >>> special_tokens("Qwen2Tokenizer")
    {'bos': None, 'eos': '<|endoftext|>'}
    """
    bos, eos = _SPECIAL.get(str(name), (None, None))
    return {"bos": bos, "eos": eos}
