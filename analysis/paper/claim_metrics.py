"""The measures of the claims, pooled over the settings that have the arms in question.

As in the paper's headline, a ratio is one of means over settings. Settings share their draws of
problems and seeds, so that a pooled interval respects that the problems are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.stats.bootstrap import Array, Estimate, combine
from analysis.stats.comparison import BASELINE, Comparison, Draws
from analysis.stats.curves import smoothed
from twogrpo.run_record.arms import ABLATION


@dataclass(frozen=True)
class Measured:
    """The number measured for a claim, with the counts behind it."""

    estimate: Estimate
    num_seeds: int
    num_problems: int
    scale: str
    of: str = ""  # what it was measured on, where the runs do not say it


Measure = Callable[[Sequence[Comparison]], Measured | None]


def retention(arm: str, *, passes: bool = False) -> Measure:
    """The ratio of the arm's average to 16-GRPO's: Mean@n, or Pass@n."""

    def measure(settings: Sequence[Comparison]) -> Measured | None:
        return _pooled(
            settings, (arm, BASELINE), lambda c, key: c.average(key, _k(c, passes)), np.divide
        )

    return measure


def difference(arm: str, baseline: str = BASELINE, *, level: float = 0.95) -> Measure:
    """The difference to the baseline in points of average Mean@n.

    A 90 % interval inside ±m is two one-sided tests of equivalence at 5 % (Schuirmann 1987, TOST).
    """

    def measure(settings: Sequence[Comparison]) -> Measured | None:
        return _pooled(settings, (arm, baseline), lambda c, key: c.average(key), np.subtract, level)

    return measure


def mean_of_ratios(arm: str) -> Measure:
    """The mean over benchmarks (and settings) of the ratio to 16-GRPO: another retention."""

    def ratio(c: Comparison, key: str) -> Draws:
        ours, baseline = c.by_benchmark(key), c.by_benchmark(BASELINE)
        pairs = [(ours[name], baseline[name]) for name in c.benchmarks]
        with np.errstate(divide="ignore", invalid="ignore"):  # unsolved by 16-GRPO: no ratio
            return (
                float(np.mean([np.divide(a, b) for (a, _), (b, _) in pairs])),
                np.mean([np.divide(a, b) for (_, a), (_, b) in pairs], axis=0),
            )

    def measure(settings: Sequence[Comparison]) -> Measured | None:
        return _pooled(settings, (arm,), ratio, lambda x: x, needed=(arm, BASELINE))

    return measure


def share(arm: str, column: str, baseline: str = BASELINE) -> Measure:
    """The ratio of sums over runs, of seconds or rollouts."""

    def measure(settings: Sequence[Comparison]) -> Measured | None:
        found = _pooled(
            settings,
            (arm, baseline),
            lambda c, key: c.total(key, column),
            np.divide,
            evaluated=False,
        )
        return found and Measured(found.estimate, found.num_seeds, 0, found.scale)

    return measure


def ablation_spread(settings: Sequence[Comparison]) -> Measured | None:
    """The largest minus the smallest average over G = 2, 4, 8, 16, in points; noise adds to it."""
    return _pooled(
        settings,
        ABLATION,
        lambda c, key: c.average(key),
        lambda *values: np.max(values, axis=0) - np.min(values, axis=0),
    )


def discard_rise(settings: Sequence[Comparison]) -> Measured | None:
    """2-GRPO's discard rate at 130/146 of the training minus that at 10/146, as in Table 3."""

    def rise(c: Comparison, key: str) -> Draws:
        steps = c.steps[c.steps["arm"] == key].sort_values(["run_id", "step"])
        steps = steps.assign(value=smoothed(steps, "groups/discard_rate"))
        last = int(steps["step"].max())
        at = {s: steps[steps["step"] == round(last * s / 146)] for s in (10, 130)}
        per_seed = {
            s: dict(zip(rows["seed"], rows["value"], strict=True)) for s, rows in at.items()
        }
        return c.over_seeds({seed: v - per_seed[10][seed] for seed, v in per_seed[130].items()})

    found = _pooled(settings, ("two_grpo",), rise, lambda x: x, evaluated=False)
    return found and Measured(found.estimate, found.num_seeds, 0, found.scale)


def _pooled(
    settings: Sequence[Comparison],
    arms: Sequence[str],
    draws: Callable[[Comparison, str], Draws],
    function: Callable[..., Array | float],
    level: float = 0.95,
    *,
    needed: Sequence[str] = (),
    evaluated: bool = True,
) -> Measured | None:
    """`function` applied to each arm's mean over the settings with all arms; None without any."""
    needed = needed or arms
    having = [c for c in settings if set(needed) <= set(c.evaluated if evaluated else c.arms)]
    if not having:
        return None
    parts = []
    for key in arms:
        found = [draws(comparison, key) for comparison in having]
        values, replicates = [v for v, _ in found], [r for _, r in found]
        parts.append((float(np.mean(values)), np.mean(replicates, axis=0)))
    return Measured(
        combine(function, parts, level),
        # An untrained model has no seed of its own.
        min(len(c.seeds(key)) for c in having for key in needed if key != "base"),
        max(c.num_problems(key) for c in having for key in needed) if evaluated else 0,
        "paper" if all(c.scale == "paper" for c in having) else "toy",
    )


def _k(comparison: Comparison, passes: bool) -> int | None:
    return comparison.num_samples if passes else None
