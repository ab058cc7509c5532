"""What the library offers for a flag, spelled out.

`--help` can so list it without importing the library; a test holds these equal
to the library's own.
"""

FORMATS = (
    "lm_eval",
    "inspect",
    "helm",
    "lighteval",
    "opencompass",
    "every_eval_ever",
    "levanter",
    "model_map",
    "router_bench",
    "llm_router_bench",
    "router_eval",
    "embed_llm",
    "csv",
    "jsonl",
    "parquet",
    "excel",
    "npz",
)
VALUES = (
    "nll_nats",
    "nll_bits",
    "bits_per_byte",
    "log_likelihood",
    "score",
    "error",
    "raw",
)
LAYOUTS = ("wide", "long")
MISSING = ("error", "drop_models", "drop_texts")
DTYPES = ("float32", "bfloat16")
PREFIXES = ("own", "bos", "eos", "none")
NORMALISATIONS = (
    "text_length",
    "bits_per_byte",
    "nats_per_char",
    "nats_per_token",
    "raw",
)
METHODS = ("pruned", "polished", "exhaustive", "certified")
ORACLE_BACKENDS = ("cpu", "gpu", "tpu", "xla")
GROUPINGS = ("family", "kind")
FORMS = (
    "power_law",
    "power_law_without_floor",
    "exponential",
    "logarithmic",
    "broken_power_law",
)
HUBER_DELTA = 1e-3
SPLITS = ("text", "domain")
ROUTERS = (
    "best_single",
    "random",
    "best_per_domain",
    "clusters",
    "nearest_neighbours",
    "ridge",
    "mlp",
    "factorisation",
    "prefix",
)
STUDIES = ("stdlib", "similarity")
SHAPES = (
    "gpt2-124m",
    "smollm2-135m",
    "llama-1b",
    "llama-8b",
    "mamba-130m",
    "mamba2-130m",
    "rwkv-169m",
    "granite-4-h-350m",
    "falcon-h1-500m",
    "nemotron-h-4-layers",
    "qwen3.5-8-layers",
    "olmo-hybrid-4-layers",
    "kimi-linear-4-layers",
    "xlstm-6-layers",
    "zamba2-1b",
)
GRANULARITIES = (
    "text",
    "bytes:512",
    "bytes:256",
    "bytes:128",
    "sentence",
    "line",
    "bytes:64",
    "bytes:32",
    "bytes:16",
    "word",
    "token",
)
