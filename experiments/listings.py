"""What `list_models` prints."""

from typing import Any

from mmc_jax import catalogue, pool


def _coverage(rows):
    num_covered = sum(row.covered for row in rows)
    return f"{num_covered} of {len(rows)} models are of ported families"


def list_ports() -> dict[str, Any]:
    """Prints the ports and what they cover; returns it as numbers."""
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


def list_pool(
    name: str, dtype: str, num_data: int, num_model: int, over_data: bool
) -> dict[str, Any]:
    """Prints the models of a pool and their memory; returns it as numbers.

    Args:
      name: File of the pool, or the name of a shipped one.
      dtype: Type of the parameters.
      num_data: Devices of the mesh along data.
      num_model: Devices of the mesh along model.
      over_data: Whether weights are split along data too.
    """
    models = pool.read(name)
    rows = catalogue.rows(models)
    listed, lines = [], []
    for row, model in zip(rows, models.models, strict=True):
        weights = catalogue.weights(
            model,
            dtype,
            num_data=num_data,
            num_model=num_model,
            over_data=over_data,
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
    print(f"{models.name}: {_coverage(rows)}; weights in {dtype}")
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
