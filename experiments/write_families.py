"""Writes the page of ports from the parity tests' own output.

  MMC_PARITY_JSON=parity.json python -m pytest tests/models/test_parity.py
  python -m experiments.write_families --parity=parity.json

Two tables stand between comments of the page: the ports, and the published
checkpoints that were tried, from a file of facts. Seconds on any machine.
"""

import json
import pathlib

from . import program, shared_flags

_PARITY = shared_flags.path(
    "parity", None, "JSON file that the parity tests wrote.", required=True
)
_PAGE = shared_flags.path(
    "page", "mmc_jax/models/README.md", "File whose tables are written anew."
)
_TRIED = shared_flags.path(
    "tried",
    "mmc_jax/models/tried_checkpoints.yaml",
    "YAML file of the published checkpoints that were tried.",
)


def main():
    from mmc_jax import catalogue, pool

    errors = json.loads(pathlib.Path(_PARITY.value).read_text())
    pools = [pool.read(name) for name in ("base71", "base_llms", "base_2026")]
    tried = catalogue.tried(_TRIED.value)
    page = pathlib.Path(_PAGE.value)
    text = page.read_text()
    for name, table in (
        ("families", catalogue.family_table(errors, pools, tried)),
        ("tried", catalogue.tried_table(tried)),
    ):
        text = _replaced(text, name, table, page)
    page.write_text(text)


def _replaced(text: str, name: str, table: str, page: pathlib.Path) -> str:
    """Returns the page with another table between the comments of a name."""
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, found, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found or not found_end:
        raise ValueError(f"{page}: no comments {begin.strip()} and {end}")
    return f"{before}{begin}{table}\n{end}{after}"


if __name__ == "__main__":
    program.run(main)
