"""A number with the interval that the data leave for it."""

import math
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike


class Estimate(NamedTuple):
    """A number, or an array of them, with an interval.

    Attributes:
      value: The number that the data themselves give, or an array [...]. NaN
        where it is not defined.
      low: Lower end of the interval, of the shape of `value`. NaN where there
        is no interval.
      high: Upper end of the interval, of the shape of `value`. NaN where there
        is no interval.
      level: Share of the resamples, or the confidence, that the interval holds.
    """

    value: float | np.ndarray
    low: float | np.ndarray = math.nan
    high: float | np.ndarray = math.nan
    level: float = 0.95

    @property
    def has_interval(self) -> bool:
        """Whether both ends are numbers, all of them where they are arrays."""
        return not (np.isnan(self.low).any() or np.isnan(self.high).any())

    def at(self, index: int) -> "Estimate":
        """Returns one number of an array of estimates."""
        return Estimate(
            float(self.value[index]),
            float(self.low[index]),
            float(self.high[index]),
            self.level,
        )

    def text(self, value_format: str = ".3g", end_format: str = "") -> str:
        """Returns the number and its interval for a reader.

        Args:
          value_format: Format of the number, as in an f-string.
          end_format: Format of the two ends; that of the number if left empty.

        Returns:
          The number followed by the interval in brackets; the number alone
          where there is no interval; "not defined" where there is no number.

        >>> Estimate(0.02612, 0.0209, 0.0314).text(".4f", ".3f")
        '0.0261 [0.021, 0.031]'
        >>> Estimate(2.0).text(), Estimate(math.nan).text()
        ('2', 'not defined')
        """
        if math.isnan(self.value):
            return "not defined"
        shown = format(self.value, value_format)
        if not self.has_interval:
            return shown
        low, high = (
            format(end, end_format or value_format)
            for end in (self.low, self.high)
        )
        return f"{shown} [{low}, {high}]"

    def __str__(self) -> str:
        """Returns `text()`."""
        return self.text()


def percentile_interval(
    values: ArrayLike, level: float = 0.95
) -> tuple[float, float]:
    """Returns the two ends of the middle of some values.

    Args:
      values: The number in each of R resamples, [R]. Infinities are allowed.
      level: Share of the values between the two ends.

    Raises:
      ValueError: No values; NaN among them; a level outside (0, 1).

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, the
    percentile interval (section 13.3).

    >>> percentile_interval(np.arange(5.0), 0.5)
    (1.0, 3.0)
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; between 0 and 1 is needed.")
    values = np.asarray(values, np.float64)
    if not values.size:
        raise ValueError("there are no values: they have no interval.")
    if np.isnan(values).any():
        raise ValueError(
            f"values[{int(np.isnan(values).argmax())}] is NaN: this number is "
            "not defined for every resample."
        )
    tail = (1 - level) / 2
    # There is no number between a finite one and infinity to interpolate to:
    # the ends are then values themselves.
    method = "linear" if np.isfinite(values).all() else "nearest"
    low, high = np.quantile(values, [tail, 1 - tail], method=method)
    return float(low), float(high)


def estimate(
    value: ArrayLike, resampled: ArrayLike, level: float = 0.95
) -> Estimate:
    """Returns numbers with the percentile intervals of their resamples.

    Args:
      value: The number that the data themselves give, or an array [...].
      resampled: The same of each of R resamples, [R, ...].
      level: Share of the resamples in an interval.

    Raises:
      ValueError: No resamples; NaN among them; a level outside (0, 1).

    >>> print(estimate(2.0, np.arange(5.0), 0.5))
    2 [1, 3]
    """
    value = np.asarray(value, np.float64)
    resampled = np.asarray(resampled, np.float64)
    ends = [
        percentile_interval(column, level)
        for column in resampled.reshape(len(resampled), -1).T
    ]
    low, high = np.array(ends).T.reshape(2, *value.shape)
    if value.ndim:
        return Estimate(value, low, high, level)
    return Estimate(float(value), float(low), float(high), level)
