"""`mmc <program>`, which is also `python -m mmc_jax <program>`."""

from mmc_jax import early_stops


def main() -> None:
    """Starts the program that the first argument names, or lists all."""
    early_stops.watch()  # Before anything else is imported.
    from mmc_jax import cli

    cli.main()


if __name__ == "__main__":
    main()
