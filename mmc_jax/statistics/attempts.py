"""Several calculations of which some may be impossible on given data."""

from collections.abc import Callable, Mapping
from typing import TypeVar

Key = TypeVar("Key")
Result = TypeVar("Result")


def attempt(
    calculations: Mapping[Key, Callable[[], Result]],
) -> tuple[dict[Key, Result], dict[Key, str]]:
    """Returns what each calculation gives, and why others give nothing.

    Args:
      calculations: Function without arguments for each name.

    Returns:
      By name the results of those that succeed; by name the messages of those
      that raise ValueError. Any other error is raised.

    >>> attempt({"half": lambda: 1 / 2, "word": lambda: float("one")})
    ({'half': 0.5}, {'word': "could not convert string to float: 'one'"})
    """
    results, reasons = {}, {}
    for name, calculation in calculations.items():
        try:
            results[name] = calculation()
        except ValueError as error:
            reasons[name] = str(error)
    return results, reasons
