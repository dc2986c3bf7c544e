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
    # Draw counts instead of indices: one matrix product gives all means.
    counts_RP = rng.multinomial(
        num_problems, np.full(num_problems, 1 / num_problems), num_resamples
    )
    means_RK = counts_RP @ values / num_problems
    tail = (1 - level) / 2
    interval: NDArray[np.float64] = np.quantile(means_RK, [tail, 1 - tail], axis=0).T
    return interval
