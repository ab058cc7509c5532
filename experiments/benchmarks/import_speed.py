"""Import of large tables of scores: seconds and memory by kind of file."""

import os
import pathlib
from collections.abc import Iterator

import numpy as np

from mmc_jax import corpus, exporters, scores, synthetic

from . import scale

# Nats of a text in the mean, and how much models differ by chance.
_NATS, _NOISE = 300.0, 0.03
KINDS = ("csv", "csv.gz", "jsonl", "parquet", "npz")


def runs(
    num_models: int, num_texts: int, folder: pathlib.Path
) -> Iterator[tuple[str, int, scale.Run]]:
    """Yields kind and layout, bytes of the file, and how its import fared.

    Args:
      num_models: Number of models of the simulated table.
      num_texts: Number of its texts.
      folder: Folder for the files; it is made.

    Raises:
      ValueError: An imported table is not the exported one, to the bit.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = _table(num_models, num_texts)
    for kind in KINDS:
        for layout in exporters.LAYOUTS:
            name = f"{kind}, {layout}"
            written = exporters.write(
                table, folder / f"{layout}.{kind}", layout=layout
            )
            out = folder / f"{layout}-{kind}"
            run = scale.ran(
                "import_scores",
                [
                    f"--input={written.scores}",
                    f"--models={written.models}",
                    f"--value={written.value}",
                    f"--out={out}",
                ],
            )
            if run.exit_code == 0:
                again = scores.open(out).select(
                    models=[model.name for model in table.models]
                )
                if not np.array_equal(again.nll_nats, table.nll_nats):
                    raise ValueError(
                        f"{name}: not the scores that were written"
                    )
            yield name, os.path.getsize(written.scores), run


def _table(num_models: int, num_texts: int) -> scores.ScoreTable:
    drawn = synthetic.pool(num_models, num_texts, _NOISE)
    return scores.ScoreTable(
        models=tuple(
            scores.ScoredModel(name, family, costs={"num_params": cost})
            for name, family, cost in zip(
                drawn.names, drawn.families, drawn.costs.tolist(), strict=True
            )
        ),
        texts=corpus.Corpus(
            ids=tuple(f"text {x}" for x in range(num_texts)),
            domains=("",) * num_texts,
            num_bytes=np.zeros(num_texts, np.int64),
            num_chars=np.zeros(num_texts, np.int64),
            sha256=("",) * num_texts,
            texts=None,
        ),
        nll_nats=drawn.losses * _NATS,
    )
