"""Writes the README's table of ports from the parity tests' own output.

  MMC_PARITY_JSON=parity.json python -m pytest tests/models/test_parity.py
  python -m experiments.write_families --parity=parity.json

The table stands between two comments of the README; seconds on any machine.
"""

import json
import pathlib

from . import program, shared_flags

_PARITY = shared_flags.path(
    "parity", None, "JSON file that the parity tests wrote.", required=True
)
_README = shared_flags.path(
    "readme", "README.md", "File whose table is written anew."
)

_BEGIN, _END = "<!-- families -->\n", "\n<!-- /families -->"


def main():
    from mmc_jax import catalogue, pool

    errors = json.loads(pathlib.Path(_PARITY.value).read_text())
    pools = [pool.read(name) for name in ("base71", "base_llms")]
    readme = pathlib.Path(_README.value)
    text = readme.read_text()
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END.lstrip("\n"))
    if not begin or not end:
        raise ValueError(f"{readme}: no marks {_BEGIN.strip()} and its end")
    table = catalogue.family_table(errors, pools)
    readme.write_text(before + _BEGIN + table + _END + after)


if __name__ == "__main__":
    program.run(main)
