"""Exports a score table as CSV, JSON lines, Parquet or NumPy arrays.

  python -m experiments.export_scores --scores=results/scores \
      --file=scores.parquet --layout=wide

The models' facts go into scores.models.csv beside it. An import of both is the
same table, to the bit; the program prints the command.
"""

from absl import flags

from . import choices, program, shared_flags, tables

flags.adopt_module_key_flags(tables)
_FILE = shared_flags.path(
    "file",
    None,
    "File to write: .csv, .tsv, .jsonl (all also .gz or .zst), .parquet or "
    ".npz.",
    required=True,
)
_LAYOUT = flags.DEFINE_enum(
    "layout",
    "wide",
    choices.LAYOUTS,
    "One row a text and one column a model, or one row a text and model.",
)

flags.mark_flags_as_mutual_exclusive(["scores", "csv"], required=True)


def main():
    from mmc_jax import exporters

    table = tables.read(need_costs=False)
    written = exporters.write(table, _FILE.value, layout=_LAYOUT.value)
    domain = " --domain=domain" if any(table.texts.domains) else ""
    print(
        f"{len(table.models)} models, {len(table.texts)} texts: "
        f"{written.scores}\nread it back by: python -m "
        f"experiments.import_scores --input={written.scores} "
        f"--models={written.models} --value={written.value}{domain} --out=..."
    )


if __name__ == "__main__":
    program.run(main)
