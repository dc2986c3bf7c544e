"""Intervals over seeds and problems: Student's t on two sources of variance.

A statistic keeps the influence of each seed, problem and pair of both on its value, so that sums
and ratios keep what their parts share: arms are evaluated on the same problems. Seeds of different
arms count as independent. With seeds and problems random and crossed,

    V = V_problems + V_seeds − V_both

(each mean square over its number of terms; the last is in both of the others), with Satterthwaite's
degrees of freedom. The interval is never narrower than Welch's t over the seeds' averages alone.
Its coverage at three and five seeds is in docs/choices.md, made by analysis/stats/coverage.py.

S seeds, N problems.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from twogrpo.core.estimators import pass_at_k
from twogrpo.errors import ConfigError

Array = NDArray[np.float64]
NUM_NODES = 4001  # of the quadrature
# What brackets and bars are, in notes.
OVER_BOTH = "95 % t-intervals over seeds and problems (of one seed: over problems alone)"
OVER_SEEDS = "95 % t-intervals over seeds (of one seed: none)"


@dataclass(frozen=True)
class Estimate:
    """A value and its interval; NaN where nothing says how far it may be off."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.low):
            return f"{self.value:.1f}"
        return f"{self.value:.1f} [{self.low:.1f}, {self.high:.1f}]"

    def columns(self, name: str) -> dict[str, float]:
        """A frame's columns of the estimate: `name`, `name_low` and `name_high`."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}

    @classmethod
    def of_columns(cls, row: Mapping[str, float], name: str) -> Estimate:
        """The estimate that `columns` wrote into a row."""
        return cls(row[name], row[f"{name}_low"], row[f"{name}_high"])


# What an influence is of, and whose: an arm's name; a benchmark with its problems.
Key = tuple[Literal["seeds", "problems", "both"], object]


@dataclass(frozen=True)
class Statistic:
    """A number with what each seed [S], problem [N] and pair [S, N] adds to its error.

    An interval is cut at the limits of the number, such as 0 and 100 %.
    """

    value: float
    influences: dict[Key, Array] = field(default_factory=dict)
    limits: tuple[float, float] = (-math.inf, math.inf)

    def __sub__(self, other: Statistic) -> Statistic:
        return _linear(self.value - other.value, [(1.0, self), (-1.0, other)])

    def __add__(self, other: Statistic) -> Statistic:
        return _linear(self.value + other.value, [(1.0, self), (1.0, other)])

    def __truediv__(self, other: Statistic) -> Statistic:
        """The ratio, by the delta method; NaN over 0."""
        if other.value == 0:
            return Statistic(math.nan)
        ratio = self.value / other.value
        return _linear(ratio, [(1 / other.value, self), (-ratio / other.value, other)])

    def interval(self, level: float = 0.95) -> Estimate:
        """The value with its interval: of one seed over problems alone, of one number NaN."""
        mean_squares = [(key[0], *_variance(x)) for key, x in self.influences.items()]
        known = [(kind, variance, df) for kind, variance, df in mean_squares if df]
        is_over_seeds = all(kind == "seeds" for kind, _, _ in mean_squares)
        is_one_seed = is_over_seeds and len(known) < len(mean_squares)  # of an arm, at least
        if not known or is_one_seed or math.isnan(self.value):
            return Estimate(self.value, math.nan, math.nan)
        of_seeds = [(variance, df) for kind, variance, df in known if kind == "seeds"]
        both = sum(variance for kind, variance, _ in known if kind == "both")
        independent = [(variance, df) for kind, variance, df in known if kind != "both"]
        seeds = sum(variance for variance, _ in of_seeds)
        total = max(sum(variance for variance, _ in independent) - both, seeds)
        probability = (1 + level) / 2
        width = max(
            math.sqrt(total) * _quantile(probability, total, independent),
            math.sqrt(seeds) * _quantile(probability, seeds, of_seeds),
        )
        low, high = self.limits
        return Estimate(self.value, max(self.value - width, low), min(self.value + width, high))


def _variance(influence: Array) -> tuple[float, int]:
    """The variance that the terms add and its degrees of freedom; 0 of one term alone."""
    df = math.prod(count - 1 for count in influence.shape)
    return float((influence**2).sum()) * influence.size / max(df, 1), df


def _quantile(probability: float, variance: float, parts: Sequence[tuple[float, int]]) -> float:
    """Student's t at Satterthwaite's degrees of freedom."""
    spread = sum(part**2 / df for part, df in parts)
    return t_quantile(probability, min(max(variance**2 / spread, 1.0), 1e3)) if spread else 0.0


@lru_cache(maxsize=4096)
def t_quantile(probability: float, degrees: float) -> float:
    """Student's t; t = √ν tan θ has a density in θ proportional to cos^(ν−1) θ.

    >>> [round(t_quantile(0.975, degrees), 3) for degrees in (1, 2, 4, 30, 1e3)]
    [12.706, 4.303, 2.776, 2.042, 1.962]
    """
    angles = np.linspace(-np.pi / 2, np.pi / 2, NUM_NODES)
    density = np.cos(angles).clip(min=0.0) ** (degrees - 1)
    below = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    return math.sqrt(degrees) * math.tan(np.interp(probability, below / below[-1], angles))


def mean(statistics: Iterable[Statistic]) -> Statistic:
    """The unweighted mean, within the limits of the first."""
    parts = list(statistics)
    value = float(np.mean([part.value for part in parts]))
    return _linear(value, [(1 / len(parts), part) for part in parts], parts[0].limits)


def _linear(
    value: float,
    terms: Sequence[tuple[float, Statistic]],
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> Statistic:
    influences: dict[Key, Array] = {}
    for factor, statistic in terms:
        for key, influence in statistic.influences.items():
            influences[key] = influences.get(key, 0.0) + factor * influence
    return Statistic(value, influences, limits)


def of_seeds(arm: object, values: Iterable[float]) -> Statistic:
    """The mean of one number a seed, such as seconds or rollouts."""
    values_S = np.array(list(values), dtype=float)
    value = float(values_S.mean())
    return Statistic(value, {("seeds", arm): (values_S - value) / len(values_S)})


def seed_range(values: Iterable[float]) -> Estimate:
    """The mean of one number a seed, with the least and the greatest: a range, not an interval."""
    values_S = list(values)
    return Estimate(float(np.mean(values_S)), min(values_S), max(values_S))


@dataclass(frozen=True)
class Scores:
    """One arm: per benchmark its problems and the scores of all seeds, [S, N], in percent."""

    arm: object
    problems: dict[str, tuple[str, ...]]
    scores_SN: dict[str, Array]

    @property
    def num_problems(self) -> int:
        """The number of problems of all benchmarks together."""
        return sum(len(ids) for ids in self.problems.values())

    def benchmark_means(self) -> dict[str, Statistic]:
        """By benchmark, the mean over seeds and problems."""
        return {name: self._mean(name) for name in self.scores_SN}

    def average(self) -> Statistic:
        """The unweighted mean of the benchmarks, as in the paper's tables."""
        return mean(self.benchmark_means().values())

    def _mean(self, benchmark: str) -> Statistic:
        scores_SN = self.scores_SN[benchmark]
        value = float(scores_SN.mean())
        if (scores_SN == scores_SN.flat[0]).all():  # no problem failed, or all: no sign of noise
            return Statistic(value, {}, (0.0, 100.0))
        seeds_S1 = scores_SN.mean(axis=1, keepdims=True) - value
        problems_1N = scores_SN.mean(axis=0, keepdims=True) - value
        both_SN = scores_SN - value - seeds_S1 - problems_1N
        influences: dict[Key, Array] = {
            ("seeds", self.arm): seeds_S1[:, 0] / seeds_S1.size,
            ("problems", (benchmark, self.problems[benchmark])): problems_1N[0] / problems_1N.size,
            ("both", (self.arm, benchmark)): both_SN / both_SN.size,
        }
        return Statistic(value, influences, (0.0, 100.0))


def scores(evaluations: pd.DataFrame, k: int | None = None, arm: object = "") -> Scores:
    """An arm's scores in percent: Mean@n, or the unbiased Pass@k if k is given.

    Raises:
        ConfigError: the seeds were evaluated on different problems.
    """
    seeds = tuple(sorted(evaluations["seed"].unique().tolist()))
    problems, matrices = {}, {}
    for benchmark, rows in evaluations.groupby("benchmark", sort=True):
        values = rows.assign(score=_score(rows, k))
        table = values.pivot(index="seed", columns="problem_id", values="score").reindex(seeds)
        if table.isna().to_numpy().any():
            raise ConfigError(
                f"benchmark={benchmark}: seeds {seeds} were not evaluated on the same problems: "
                "keep runs of different evaluations in folders apart"
            )
        problems[str(benchmark)] = tuple(table.columns)
        matrices[str(benchmark)] = 100 * table.to_numpy(dtype=float)
    return Scores(arm, problems, matrices)


def _score(rows: pd.DataFrame, k: int | None) -> list[float]:
    pairs = list(zip(rows["num_correct"].tolist(), rows["num_samples"].tolist(), strict=True))
    if k is None:
        return [correct / samples for correct, samples in pairs]
    known = {pair: pass_at_k(*pair, k) for pair in set(pairs)}
    return [known[pair] for pair in pairs]
