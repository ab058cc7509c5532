"""Programs of mmc_jax: run one with `python -m experiments.<name> --help`."""

import sys

# So it stands while `python -m` looks for the program: nothing else of it is
# imported yet.
if sys.argv[:1] == ["-m"]:
    from mmc_jax import early_stops

    early_stops.watch()
