"""Bootstrap intervals of a mean over problems. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def bootstrap_interval(
    values_PK: ArrayLike,
    rng: np.random.Generator,
    *,
    num_resamples: int = 2000,
    level: float = 0.95,
) -> NDArray[np.float64]:
    """Percentile interval of the column means over problems, [K, 2]: low and high.

    Problems are drawn with replacement, each with all its columns (Efron 1979). The interval says
    how far the mean would move with other problems of the same kind, not with other samples or
    seeds. With one problem, low and high are its value. P problems, K numbers per problem.

    >>> bootstrap_interval([[1.0], [1.0]], np.random.default_rng(0)).tolist()
    [[1.0, 1.0]]

    Raises:
        ValueError: there are no problems.
    """
    values = np.asarray(values_PK, dtype=np.float64)
    num_problems = len(values)
    if not num_problems:
        raise ValueError("no problem to draw from: an interval needs one or more")
    means_RK = resample_counts(num_problems, rng, num_resamples) @ values / num_problems
    tail = (1 - level) / 2
    interval: NDArray[np.float64] = np.quantile(means_RK, [tail, 1 - tail], axis=0).T
    return interval


def resample_counts(
    num_items: int, rng: np.random.Generator, num_resamples: int
) -> NDArray[np.int64]:
    """How often each item is in each resample drawn with replacement, [R, N]; rows sum to N.

    Counts rather than indices: one matrix product gives the means of all resamples.
    """
    return rng.multinomial(num_items, np.full(num_items, 1 / num_items), num_resamples)
