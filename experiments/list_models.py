"""Lists what is ported, the shipped pools, and the memory that models need.

  python -m experiments.list_models
  python -m experiments.list_models --pool=base71 --mesh=2x4 --dtype=bfloat16

Without a pool: the ports with their model types, and how much of each shipped
pool they cover. With one: its models, which of them have a port, and the memory
that their weights take on each device of a mesh (data x model; weights are
split along the second, or with --over_data along both), and how much of it
stays whole because the mesh does not divide it. That is exact for a model whose
config.json is here; of others it is the least (>=). Nothing is fetched; some
seconds on any machine.
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
_OVER_DATA = flags.DEFINE_boolean(
    "over_data", False, "Split weights over all devices of the mesh."
)
_OUT = flags.DEFINE_string("out", None, "A result folder, if one is wanted.")


def _mesh_sizes():
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", _MESH.value)
    if match is None:
        raise ValueError(
            f"--mesh={_MESH.value}: give devices along data and model, like 2x4"
        )
    return int(match[1]), int(match[2])


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


def _list_pool(models, num_data, num_model):
    rows = catalogue.rows(models)
    listed, lines = [], []
    for row, model in zip(rows, models.models, strict=True):
        weights = catalogue.weights(
            model,
            _DTYPE.value,
            num_data=num_data,
            num_model=num_model,
            over_data=_OVER_DATA.value,
        )
        listed.append(
            {**row._asdict(), "weights": weights and weights._asdict()}
        )
        lines.append(
            (
                row.name,
                row.family,
                row.model_type or "?",
                "yes" if row.covered else "no",
                _number(row.num_params, 1e6, 1),
                _number(row.num_active_params, 1e6, 1),
                *_gib(weights),
            )
        )
    heads = ("model", "family", "model type", "port", "M params", "M active")
    _print_table((*heads, "GiB/device", "whole"), lines, num_left=4)
    print(f"{models.name}: {_coverage(rows)}; weights in {_DTYPE.value}")
    return {"pool": models.name, "models": listed}


def _gib(weights):
    if weights is None:
        return "?", "?"
    on_device = _number(weights.bytes_per_device, 2**30, 2)
    if not weights.is_exact:
        return f">={on_device}", "?"
    return on_device, _number(sum(weights.undivided.values()), 2**30, 2)


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
    sizes = _mesh_sizes()
    about_weights = (_MESH, _DTYPE, _OVER_DATA)
    if _POOL.value is None and any(flag.present for flag in about_weights):
        raise ValueError("--mesh, --dtype and --over_data ask for a --pool")
    if _POOL.value is None:
        numbers = _list_ports()
    else:
        numbers = _list_pool(pool.read(_POOL.value), *sizes)
    if _OUT.value is not None:
        print(
            report.write_result(
                _OUT.value, numbers, flags=program.flag_values()
            )
        )


if __name__ == "__main__":
    program.run(main)
