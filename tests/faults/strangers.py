"""Files of other tools, of checkpoints and of pages, as small as they can be.

Each is a line of `FILES`, in the form that `files.KINDS` has. None has a
checksum: whoever changes one writes another file.
"""

import importlib.util
import json
import pathlib
import pickle
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

Content = dict[str, Any]


def _json(name: str, content: Any) -> Callable[[pathlib.Path], object]:
    """Returns the function that writes a content as JSON below a folder."""
    return _text(name, json.dumps(content))


def _lines(name: str, *rows: Content) -> Callable[[pathlib.Path], object]:
    return _text(name, "".join(json.dumps(row) + "\n" for row in rows))


def _text(name: str, text: str) -> Callable[[pathlib.Path], object]:
    def make(folder: pathlib.Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

    return make


def _both(*makers: Callable[[pathlib.Path], object]):
    def make(folder: pathlib.Path) -> None:
        for one in makers:
            one(folder)

    return make


def _parquet(name: str, rows: list[Content]):
    def make(folder: pathlib.Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet

        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pa.parquet.write_table(pa.Table.from_pylist(rows), path)

    return make


def _inspect_archive(folder: pathlib.Path) -> None:
    with zipfile.ZipFile(folder / "a.eval", "w") as archive:
        for name, content in (
            ("samples/0_epoch_1.json", _SAMPLE),
            ("header.json", _HEADER),
        ):
            archive.writestr(name, json.dumps(content))


def _model_map(folder: pathlib.Path) -> None:
    likelihoods = {"org/a": np.array([-3.0, -2.5]), "org/b": np.zeros(2) - 1}
    path = folder / "raw_log-likelihood_1018.pkl"
    path.write_bytes(pickle.dumps(likelihoods))
    path = folder / "model-data-1018.pkl"
    path.write_bytes(pickle.dumps([{"model_name": "org/a", "model_size": 7.0}]))


def _router_eval(folder: pathlib.Path) -> None:
    group = {
        "model": ["a/x", "b/y"],
        "data": {
            "train_score": np.array([[1.0, 0.0]]),
            "val_score": np.array([[0.0, 0.0]]),
            "test_score": np.array([[1.0, 0.5]]),
        },
    }
    content = {"easy": {3: {"all_strong": group}}}
    (folder / "arc_router_dataset.pkl").write_bytes(pickle.dumps(content))


def _npz(folder: pathlib.Path) -> None:
    np.savez(
        folder / "scores.npz",
        text_id=np.array(["a", "b"]),
        m0=np.array([1.5, 2.0]),
        m1=np.array([1.0, 2.5]),
    )


def _excel(folder: pathlib.Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    for row in (["text_id", "m0", "m1"], ["a", 1.5, 2.0], ["b", 1, 2.5]):
        book.active.append(row)
    book.save(folder / "scores.xlsx")


def _embeddings(folder: pathlib.Path) -> None:
    np.save(folder / "e.npy", np.arange(6.0).reshape(2, 3))
    (folder / "e.ids.txt").write_text("a\nb\n")


def _gguf(folder: pathlib.Path) -> None:
    """Writes a LLaMA of one layer, as llama.cpp's converter does."""
    import gguf

    writer = gguf.GGUFWriter(folder / "model.gguf", "llama")
    for key, value in {
        "embedding_length": 8,
        "block_count": 1,
        "context_length": 16,
        "feed_forward_length": 12,
        "attention.head_count": 2,
    }.items():
        writer.add_uint32(f"llama.{key}", value)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    rng = np.random.default_rng(0)
    for name, shape in {
        "token_embd": (10, 8),
        "output_norm": (8,),
        "blk.0.attn_norm": (8,),
        "blk.0.ffn_norm": (8,),
        **{f"blk.0.attn_{x}": (8, 8) for x in ("q", "k", "v", "output")},
        **{f"blk.0.ffn_{x}": (12, 8) for x in ("gate", "up")},
        "blk.0.ffn_down": (8, 12),
    }.items():
        tensor = rng.normal(size=shape).astype(np.float32)
        writer.add_tensor(f"{name}.weight", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _adapter(folder: pathlib.Path) -> None:
    """Writes a LoRA adapter of one layer of a GPT-2."""
    import safetensors.numpy

    content = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(content))
    place = "base_model.model.transformer.h.0.attn.c_attn.lora_"
    safetensors.numpy.save_file(
        {
            f"{place}A.weight": np.ones((2, 4), np.float32),
            f"{place}B.weight": np.ones((12, 2), np.float32),
        },
        folder / "adapter_model.safetensors",
    )


def write_router(folder: pathlib.Path) -> None:
    from mmc_jax import realizable

    router = realizable.FittedRouter(
        "nearest_neighbours",
        ("a", "b"),
        ("x",),
        {"weights": np.ones((2, 2), np.float32)},
        {"num_texts": 2},
    )
    realizable.save_router(router, folder / "router")


def _imported(format: str, name: str = "", **options: Any):
    """Returns the function that imports what is below a folder."""

    def read(folder: pathlib.Path) -> object:
        from mmc_jax import importers

        chosen = importers.Options(**options)
        table = importers.read(folder / name, chosen, format=format).table
        costs = table.query_costs
        return [
            table.nll_nats.tolist(),
            [(model.name, model.costs) for model in table.models],
            table.texts.ids,
            None if costs is None else costs.tolist(),
        ]

    return read


def _read_gguf(folder: pathlib.Path) -> object:
    from flax import nnx

    from mmc_jax import models

    model = models.load(folder / "model.gguf", cache_dir=None)
    return {
        ".".join(map(str, path)): np.asarray(value).tobytes()
        for path, value in nnx.to_flat_state(nnx.state(model))
    }


def _read_adapter(folder: pathlib.Path) -> object:
    from mmc_jax.models import adapters

    found = adapters.Adapter(folder, is_transposed=True)
    return sorted(found.names)


def _read_study(folder: pathlib.Path) -> object:
    from mmc_jax import comparisons

    found = comparisons.read_result(folder)
    return [repr(found.frontiers), found.laws, found.models, found.win_shares]


def _read_chapters(folder: pathlib.Path) -> object:
    """Takes the chapters of another result into a page."""
    from mmc_jax import report

    chapters = report.result_chapters([folder])
    report.write_page(folder / "page.html", chapters, flags={})
    return [dict(one.numbers) for one in chapters]


def _read_dates(folder: pathlib.Path) -> object:
    from mmc_jax import importers

    return importers.read_text_dates(folder / "dates.csv")


def _read_embeddings(folder: pathlib.Path) -> object:
    from mmc_jax.realizable import features

    return features.read_features(folder / "e.npy").values.tolist()


def read_router(folder: pathlib.Path) -> object:
    from mmc_jax import realizable

    found = realizable.load_router(folder / "router")
    arrays = {name: array.tolist() for name, array in found.arrays.items()}
    return found._replace(arrays=arrays)


_SAMPLE = {
    "id": 0,
    "epoch": 1,
    "input": "so",
    "target": "",
    "scores": {
        "perplexity": {
            "value": 1.5,
            "metadata": {"num_tokens": 2, "sum_log_probs": -3.0},
        }
    },
}
_HEADER = {
    "version": 2,
    "status": "success",
    "eval": {
        "model": "hf/org/a",
        "task": "wiki",
        "created": "2025-01-02T03:04:05Z",
    },
}
_ROLLING = {
    "doc_id": 0,
    "doc": {"page": "so it is"},
    "target": "so it is",
    "arguments": {"gen_args_0": {"arg_0": "so it is"}},
    "resps": [["-3.5"]],
    "filtered_resps": ["-3.5"],
    "word_perplexity": [-3.5, 3],
    "bits_per_byte": [-3.5, 8],
    "doc_hash": "d" * 64,
    "prompt_hash": "e" * 64,
    "target_hash": "f" * 64,
}
_DATE = "2025-05-31T14-30-51.983293"
_LM_EVAL = {
    "results": {"wiki": {"alias": "wiki"}},
    "configs": {"wiki": {"task": "wiki"}},
    "config": {"model": "hf", "model_args": "pretrained=org/a"},
    "model_name": "org/a",
    "date": 1748700000.5,
    "lm_eval_version": "0.4.8",
}
_HELM = [
    {
        "instance_id": "id1",
        "train_trial_index": 0,
        "stats": [
            {
                "name": {"name": name, "split": "test"},
                "count": 1,
                "sum": value,
            }
            for name, value in (("logprob", -2.5), ("num_bytes", 8))
        ],
    }
]
_HELM_SPEC = {"name": "wiki,model=org_a", "adapter_spec": {"model": "org/a"}}
_LABEL = {
    "testing input": "so it is",
    "prompt": "so it is",
    "PPL": 1.0,
    "BPB": 0.5,
}
_DETAILS = {
    "doc": {"query": "q", "choices": [" yes", " no"], "gold_index": [0]},
    "metric": {"acc": 1},
    "model_response": {"input": "q", "logprobs": [-1.0, -2.0]},
}
_INSTANCE = {
    "schema_version": "0.3.0",
    "evaluation_id": "arc/org/a/1767000000",
    "model_id": "org/a",
    "evaluation_name": "arc",
    "sample_id": "0",
    "input": {"raw": "q", "reference": ["x"]},
    "evaluation": {"score": 1.0, "is_correct": True},
    "metadata": {"lm_eval_metrics": '{"acc": 1}'},
}
_ROUTER_RUN = {
    "model_name": "a",
    "dataset_name": "aime",
    "split": "test",
    "demo": False,
    "records": [
        {
            "index": 1,
            "origin_query": "What?",
            "prompt": "What?",
            "cost": 0.5,
            "score": 1.0,
        }
    ],
}
_DOCUMENT = {
    "dataset_name": "c4",
    "tags": ["x"],
    "shard_name": "docs",
    "row_index": 0,
    "text": "so",
    "score_byte_start": 0,
    "score_byte_end": 2,
    "token_ids": [0, 1],
    "per_byte_loss": [0.5, 0.25],
    "token_byte_starts": [0, 0],
    "token_byte_ends": [0, 2],
    "num_bytes": 2,
}
_LAW = {"A": 2.0, "alpha": 0.2, "L_inf": 1.0}
_VIEW = {
    "lines": {
        name: {"law": {**_LAW, "intervals": {"alpha": {"low": 0.1, "high": 1}}}}
        for name in ("single", "oracle")
    }
}
_STUDY = {
    "study": {
        "num_models": 1,
        "num_texts": 2,
        "normalisation": "raw",
        "loss_unit": "nats",
        "cost": "num_params",
        "chars_per_token": None,
        "models": [{"name": "a", "family": "x", "loss": 1.5}],
        "loss_of_all_models": 1.5,
        "single": [{"cost": 1.0, "loss": 1.5}],
        "frontier": [{"cost": 1.0, "loss": 1.5}],
        "laws": {"single": _LAW, "pool": _LAW},
    },
    "law": {"views": [_VIEW]},
    "diversity": {"models": [{"name": "a", "family": "x", "win_share": 1.0}]},
}
_LEVEL = {
    "kind": "text",
    "bytes_per_choice": 8.0,
    "all_models": 1.5,
    "all_models_interval": {"low": 1.25, "high": 1.75},
    "control": 1.75,
    "noise_share_of_gain": 0.25,
    "systems": {"bayes_mixture": 1.5, "fixed_share": 1.5},
}
_CHAPTER = {"granularity": {"unit": "nats", "levels": [_LEVEL]}}

_LM_EVAL_RUN = _both(
    _lines(f"org__a/samples_wiki_{_DATE}.jsonl", _ROLLING),
    _json(f"org__a/results_{_DATE}.json", _LM_EVAL),
)

# Name -> what makes the files, which is damaged, and what reads them.
FILES = {
    "logs of lm_eval": (
        _LM_EVAL_RUN,
        "org__a/samples_*.jsonl",
        _imported("lm_eval", value="rolling"),
    ),
    "results of lm_eval": (
        _LM_EVAL_RUN,
        "org__a/results_*.json",
        _imported("lm_eval", value="rolling"),
    ),
    "logs of Inspect in JSON": (
        _json("a.json", {**_HEADER, "samples": [_SAMPLE]}),
        "a.json",
        _imported("inspect"),
    ),
    "logs of Inspect in archives": (
        _inspect_archive,
        "a.eval",
        _imported("inspect"),
    ),
    "statistics of HELM": (
        _both(
            _json("runs/v1/wiki/run_spec.json", _HELM_SPEC),
            _json("runs/v1/wiki/per_instance_stats.json", _HELM),
        ),
        "runs/v1/wiki/per_instance_stats.json",
        _imported("helm", value="logprob"),
    ),
    "specification of HELM": (
        _both(
            _json("runs/v1/wiki/run_spec.json", _HELM_SPEC),
            _json("runs/v1/wiki/per_instance_stats.json", _HELM),
        ),
        "runs/v1/wiki/run_spec.json",
        _imported("helm", value="logprob"),
    ),
    "predictions of OpenCompass": (
        _json(
            "20250102_030405/predictions/a/set.json",
            {"0": {"label: 0": _LABEL}},
        ),
        "20250102_030405/predictions/a/set.json",
        _imported("opencompass", value="rolling"),
    ),
    "details of lighteval": (
        _parquet(
            f"details/org/a/{_DATE[:23]}/details_arc_{_DATE[:23]}.parquet",
            [_DETAILS],
        ),
        "details/org/a/*/*.parquet",
        _imported("lighteval", value="target"),
    ),
    "instances of Every Eval Ever": (
        _lines("a_samples.jsonl", _INSTANCE),
        "a_samples.jsonl",
        _imported("every_eval_ever"),
    ),
    "documents of Levanter": (
        _parquet("a/scored_documents.parquet", [_DOCUMENT]),
        "a/scored_documents.parquet",
        _imported("levanter"),
    ),
    "pickle of the model map": (
        _model_map,
        "raw_log-likelihood_1018.pkl",
        _imported("model_map"),
    ),
    "models of the model map": (
        _model_map,
        "model-data-1018.pkl",
        _imported("model_map"),
    ),
    "pickle of RouterEval": (
        _router_eval,
        "arc_router_dataset.pkl",
        _imported("router_eval", "arc_router_dataset.pkl"),
    ),
    "table of RouterBench": (
        _text(
            "rb.csv",
            "sample_id,prompt,eval_name,m,m|model_response,m|total_cost\n"
            "a.1,\"['So?']\",a,1.0,['x'],0.5\n",
        ),
        "rb.csv",
        _imported("router_bench", "rb.csv"),
    ),
    "runs of LLMRouterBench": (
        _json(
            "results/bench/aime/test/a/aime-test-a-20250101_000000.json",
            _ROUTER_RUN,
        ),
        "results/bench/aime/test/a/*.json",
        _imported("llm_router_bench"),
    ),
    "table of EmbedLLM": (
        _text(
            "train.csv",
            "prompt_id,model_id,category_id,label,model_name,category,prompt\n"
            '7,0,1,1,a,mmlu,"Which, then?"\n3,0,1,0,a,mmlu,How?\n',
        ),
        "train.csv",
        _imported("embed_llm", "train.csv"),
    ),
    "scores in JSON lines": (
        _lines(
            "scores.jsonl",
            {"text_id": "a", "m0": 1.5, "m1": 2},
            {"text_id": "b", "m0": 1, "m1": 2.5},
        ),
        "scores.jsonl",
        _imported("jsonl", "scores.jsonl", value="raw"),
    ),
    "scores in NumPy": (
        _npz,
        "scores.npz",
        _imported("npz", "scores.npz", value="raw"),
    ),
    "dates of texts": (
        _text("dates.csv", "text_id,date\na,2024-05-01\nb,2025\n"),
        "dates.csv",
        _read_dates,
    ),
    "embeddings": (_embeddings, "e.npy", _read_embeddings),
    "GGUF": (_gguf, "model.gguf", _read_gguf),
    "config of an adapter": (_adapter, "adapter_config.json", _read_adapter),
    "weights of an adapter": (
        _adapter,
        "adapter_model.safetensors",
        _read_adapter,
    ),
    "result.json of a study": (
        _json("result.json", _STUDY),
        "result.json",
        _read_study,
    ),
    "result.json of a chapter": (
        _json("result.json", _CHAPTER),
        "result.json",
        _read_chapters,
    ),
    "facts of a router": (write_router, "router/router.json", read_router),
}
if importlib.util.find_spec("openpyxl") is not None:  # An extra.
    FILES["scores in Excel"] = (
        _excel,
        "scores.xlsx",
        _imported("excel", "scores.xlsx", value="raw"),
    )
