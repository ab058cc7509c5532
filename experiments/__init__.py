"""Programs of mmc_jax: run one with `python -m experiments.<name> --help`."""
