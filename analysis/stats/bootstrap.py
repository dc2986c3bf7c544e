"""Intervals over seeds and problems: a paired bootstrap with an explicit random generator.

A replicate draws the seeds with replacement (the same draw for every arm that has the same seeds)
and, within each benchmark, the problems with replacement (the same draw for every arm): differences
and ratios of arms are therefore paired. Percentile intervals. With three seeds the draw of seeds
spans only ten distinct sets, so the intervals are somewhat too narrow: more seeds say more.

R replicates, S seeds, N problems.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from twogrpo.core.bootstrap import resample_counts
from twogrpo.core.estimators import pass_at_k

Array = NDArray[np.float64]
NUM_REPLICATES = 2000


@dataclass(frozen=True)
class Estimate:
    """A value and its percentile interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.1f} [{self.low:.1f}, {self.high:.1f}]"


@dataclass(frozen=True)
class Scores:
    """One arm: its seeds, and per benchmark the score of each problem, [S, N], in percent."""

    seeds: tuple[int, ...]
    problems: dict[str, tuple[str, ...]]
    scores_SN: dict[str, Array]

    @property
    def num_problems(self) -> int:
        """The number of problems of all benchmarks together."""
        return sum(len(ids) for ids in self.problems.values())


def scores(evaluations: pd.DataFrame, k: int | None = None) -> Scores:
    """An arm's scores in percent: Mean@n, or the unbiased Pass@k if k is given.

    Raises:
        ValueError: the seeds were evaluated on different problems.
    """
    seeds = tuple(sorted(evaluations["seed"].unique().tolist()))
    problems, matrices = {}, {}
    for benchmark, rows in evaluations.groupby("benchmark", sort=True):
        values = rows.assign(score=_score(rows, k))
        table = values.pivot(index="seed", columns="problem_id", values="score").loc[list(seeds)]
        if table.isna().to_numpy().any():
            raise ValueError(
                f"benchmark={benchmark}: seeds {seeds} were not evaluated on the same problems: "
                "keep runs of different evaluations in folders apart"
            )
        problems[str(benchmark)] = tuple(table.columns)
        matrices[str(benchmark)] = 100 * table.to_numpy(dtype=float)
    return Scores(seeds, problems, matrices)


def _score(rows: pd.DataFrame, k: int | None) -> list[float]:
    pairs = list(zip(rows["num_correct"].tolist(), rows["num_samples"].tolist(), strict=True))
    if k is None:
        return [correct / samples for correct, samples in pairs]
    known = {pair: pass_at_k(*pair, k) for pair in set(pairs)}
    return [known[pair] for pair in pairs]


class Bootstrap:
    """The draws of an analysis, shared by all its settings, arms and metrics."""

    def __init__(self, rng: np.random.Generator, num_replicates: int = NUM_REPLICATES) -> None:
        self._rng = rng
        self._num = num_replicates
        self._seed_weights: dict[tuple[int, ...], Array] = {}
        self._problem_weights: dict[tuple[str, tuple[str, ...]], Array] = {}

    def seed_weights_RS(self, seeds: tuple[int, ...]) -> Array:
        """The weight of each seed in each replicate, [R, S]; rows sum to 1."""
        if seeds not in self._seed_weights:
            self._seed_weights[seeds] = self._weights(len(seeds))
        return self._seed_weights[seeds]

    def problem_weights_RN(self, benchmark: str, problems: tuple[str, ...]) -> Array:
        """The weight of each problem in each replicate, [R, N]; rows sum to 1."""
        key = (benchmark, problems)
        if key not in self._problem_weights:
            self._problem_weights[key] = self._weights(len(problems))
        return self._problem_weights[key]

    def benchmark_means(self, arm: Scores) -> dict[str, tuple[float, Array]]:
        """By benchmark, the mean over seeds and problems and its replicates [R]."""
        seed_weights_RS = self.seed_weights_RS(arm.seeds)
        means = {}
        for benchmark, scores_SN in arm.scores_SN.items():
            weights_RN = self.problem_weights_RN(benchmark, arm.problems[benchmark])
            replicates_R = ((seed_weights_RS @ scores_SN) * weights_RN).sum(axis=1)
            means[benchmark] = (float(scores_SN.mean()), replicates_R)
        return means

    def average(self, arm: Scores) -> tuple[float, Array]:
        """The unweighted mean of the benchmarks, as in the paper's tables, and its replicates."""
        means = list(self.benchmark_means(arm).values())
        return (
            float(np.mean([value for value, _ in means])),
            np.mean([replicates for _, replicates in means], axis=0),
        )

    def over_seeds(self, per_seed: Mapping[int, float]) -> tuple[float, Array]:
        """The mean of one value a seed (seconds, rollouts), and its replicates."""
        seeds = tuple(sorted(per_seed))
        values_S = np.array([per_seed[seed] for seed in seeds], dtype=float)
        return float(values_S.mean()), self.seed_weights_RS(seeds) @ values_S

    def _weights(self, count: int) -> Array:
        return resample_counts(count, self._rng, self._num) / count


def interval(value: float, replicates_R: Array, level: float = 0.95) -> Estimate:
    """The percentile interval of the replicates around the value.

    >>> interval(2.0, np.array([1.0, 2.0, 3.0]), level=1.0)
    Estimate(value=2.0, low=1.0, high=3.0)
    """
    tail = 50 * (1 - level)
    low, high = np.percentile(replicates_R, [tail, 100 - tail])
    return Estimate(value, float(low), float(high))


def combine(
    function: Callable[..., Array | float],
    parts: Sequence[tuple[float, Array]],
    level: float = 0.95,
) -> Estimate:
    """The interval of a function of estimates whose replicates share their draws.

    A ratio of means is `combine(np.divide, [arm, baseline])`, a difference `np.subtract`. A ratio
    to a baseline that is 0, in the means or in any replicate, is NaN there.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        value, replicates_R = (
            np.asarray(function(*column), dtype=float) for column in zip(*parts, strict=True)
        )
    replicates_R[~np.isfinite(replicates_R)] = np.nan
    return interval(float(value) if np.isfinite(value) else np.nan, replicates_R, level)
