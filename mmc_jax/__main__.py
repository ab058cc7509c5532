"""`python -m mmc_jax <program>` is `mmc <program>`."""

from mmc_jax.cli import main

if __name__ == "__main__":
    main()
