"""Scores that others made, read into a score table.

A format is a module with `recognises` and `read`, and a line in `FORMATS`.
`read` of this package reads a path of any format; `csv` is the shortest way for
a table. See `frame` for what a format takes and returns.
"""

from mmc_jax.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "assembly": ["Result", "assembled"],
        "formats": ["FORMATS", "Format", "csv", "detected", "read"],
        "frame": ["MISSING", "Imported", "Options"],
        "model_facts": ["read_models"],
        "more_facts": ["with_facts"],
        "text_dates": ["read_text_dates"],
        "units": ["VALUES"],
    },
)
