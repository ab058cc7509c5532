"""Scores that others made, read into a score table."""

from mmc_jax.importers.wide_csv import csv

__all__ = ["csv"]
