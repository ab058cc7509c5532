"""Lists what is ported, the shipped pools, and the memory that models need.

  python -m experiments.list_models
  python -m experiments.list_models --pool=base71 --mesh=2x4 --dtype=bfloat16

Without a pool: the ports with their model types, and how much of each shipped
pool they cover. With one: its models, which of them have a port, and the least
memory that their weights take on each device of a mesh (data x model; weights
are split along the second). Nothing is fetched; some seconds on any machine.
"""

import re

from absl import flags

from experiments import program
from mmc_jax import catalogue, pool, report

_POOL = flags.DEFINE_string(
    "pool", None, "A YAML file, or the name of a shipped pool."
)
_MESH = flags.DEFINE_string("mesh", "1x1", "Devices: data x model.")
_DTYPE = flags.DEFINE_enum(
    "dtype", "float32", ["float32", "bfloat16"], "Of the parameters."
)
_OUT = flags.DEFINE_string("out", None, "A result folder, if one is wanted.")


def _num_model_shards():
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", _MESH.value)
    if match is None:
        raise ValueError(
            f"--mesh={_MESH.value}: give devices along data and model, like 2x4"
        )
    return int(match[2])


def _coverage(rows):
    num_covered = sum(row.covered for row in rows)
    return f"{num_covered} of {len(rows)} models are of ported families"


def _list_ports():
    families = catalogue.families()
    print("ports (module: model types)")
    for module, model_types in families.items():
        print(f"  {module}: {', '.join(model_types)}")
    print("shipped pools")
    pools = {name: catalogue.rows(pool.read(name)) for name in pool.shipped()}
    for name, rows in pools.items():
        print(f"  {name}: {_coverage(rows)}")
    return {
        "families": families,
        "pools": {
            name: [row._asdict() for row in rows]
            for name, rows in pools.items()
        },
    }


def _list_pool(models, num_model_shards):
    rows = catalogue.rows(models)
    listed, lines = [], []
    for row in rows:
        num_bytes = None
        if row.num_params is not None:
            num_bytes = catalogue.weight_bytes_per_device(
                row.num_params,
                _DTYPE.value,
                num_model_shards=num_model_shards,
            )
        listed.append({**row._asdict(), "weight_bytes_per_device": num_bytes})
        lines.append(
            (
                row.name,
                row.family,
                row.model_type or "?",
                "yes" if row.covered else "no",
                _number(row.num_params, 1e6, 1),
                _number(row.num_active_params, 1e6, 1),
                _number(num_bytes, 2**30, 2),
            )
        )
    heads = ("model", "family", "model type", "port", "M params", "M active")
    _print_table((*heads, "GiB/device"), lines, num_left=4)
    print(f"{models.name}: {_coverage(rows)}; weights in {_DTYPE.value}")
    return {"pool": models.name, "models": listed}


def _number(value, unit, num_digits):
    return "?" if value is None else f"{value / unit:,.{num_digits}f}"


def _print_table(heads, lines, *, num_left):
    table = [heads, *lines]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        cells = [
            cell.ljust(width) if i < num_left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


def main():
    num_model_shards = _num_model_shards()
    if _POOL.value is None and (_MESH.present or _DTYPE.present):
        raise ValueError("--mesh and --dtype ask for a --pool")
    if _POOL.value is None:
        numbers = _list_ports()
    else:
        numbers = _list_pool(pool.read(_POOL.value), num_model_shards)
    if _OUT.value is not None:
        print(
            report.write_result(
                _OUT.value, numbers, flags=program.flag_values()
            )
        )


if __name__ == "__main__":
    program.run(main)
