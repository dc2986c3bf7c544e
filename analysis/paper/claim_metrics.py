"""The measures of the claims, pooled over the settings that have the arms in question.

As in the paper's headline, a ratio is one of means over settings. A problem that several settings
have counts as one problem in a pooled interval.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

from analysis.exhibits.claim_table import Measure, Measured
from analysis.stats.comparison import BASELINE, Comparison
from analysis.stats.curves import at_published_step, smoothed
from analysis.stats.intervals import Estimate, Statistic, mean
from twogrpo.run_record.arms import ABLATION


def retention(arm: str, *, passes: bool = False) -> Measure:
    """The ratio of the arm's average to 16-GRPO's: Mean@n, or Pass@n."""

    def measure(settings: Sequence[Comparison]) -> Measured | None:
        return _pooled(
            settings,
            (arm, BASELINE),
            lambda c, key: c.average(key, c.num_samples if passes else None),
            lambda ours, baseline: (ours / baseline).interval(),
        )

    return measure


def difference(arm: str, baseline: str = BASELINE, *, level: float = 0.95) -> Measure:
    """The difference to the baseline in points of average Mean@n.

    A 90 % interval inside ±m is two one-sided tests of equivalence at 5 % (Schuirmann 1987, TOST).
    """

    def measure(settings: Sequence[Comparison]) -> Measured | None:
        return _pooled(
            settings,
            (arm, baseline),
            lambda c, key: c.average(key),
            lambda ours, theirs: (ours - theirs).interval(level),
        )

    return measure


def mean_of_ratios(arm: str) -> Measure:
    """The mean over benchmarks (and settings) of the ratio to 16-GRPO: another retention."""

    def ratio(c: Comparison, key: str) -> Statistic:
        ours, baseline = c.by_benchmark(key), c.by_benchmark(BASELINE)
        return mean(ours[name] / baseline[name] for name in c.benchmarks)

    def measure(settings: Sequence[Comparison]) -> Measured | None:
        return _pooled(settings, (arm,), ratio, Statistic.interval, needed=(arm, BASELINE))

    return measure


def share(arm: str, column: str, baseline: str = BASELINE) -> Measure:
    """The ratio of means over runs, of seconds or rollouts."""

    def measure(settings: Sequence[Comparison]) -> Measured | None:
        return _pooled(
            settings,
            (arm, baseline),
            lambda c, key: c.total(key, column),
            lambda ours, theirs: (ours / theirs).interval(),
            evaluated=False,
        )

    return measure


def ablation_spread(settings: Sequence[Comparison]) -> Measured | None:
    """The largest minus the smallest average over G = 2, 4, 8, 16, in points; noise adds to it."""
    return _pooled(settings, ABLATION, lambda c, key: c.average(key), spread)


def spread(*arms: Statistic) -> Estimate:
    """The largest minus the smallest value, from the differences of all pairs (Bonferroni).

    No pair is chosen after the fact, so the interval holds the truth in 95 % of cases or more.
    """
    pairs = [(one, other) for one, other in combinations(arms, 2)]
    found = [(one - other).interval(1 - 0.05 / len(pairs)) for one, other in pairs]
    values = [arm.value for arm in arms]
    return Estimate(
        max(values) - min(values),
        max(0.0, *(low for e in found for low in (e.low, -e.high))),
        max(high for e in found for high in (e.high, -e.low)),
    )


def discard_rise(settings: Sequence[Comparison]) -> Measured | None:
    """2-GRPO's discard rate, smoothed, at Table 3's last step minus that at its first."""

    def rise(c: Comparison, key: str) -> Statistic:
        steps = c.steps[c.steps["arm"] == key].sort_values(["run_id", "step"])
        steps = steps.assign(value=smoothed(steps, "groups/discard_rate"))
        last = int(steps["step"].max()) + 1
        early, late = (
            steps[steps["step"] + 1 == at_published_step(step, last)].set_index("seed")["value"]
            for step in (10, 130)
        )
        return c.over_seeds(key, late - early)

    return _pooled(settings, ("two_grpo",), rise, Statistic.interval, evaluated=False)


def _pooled(
    settings: Sequence[Comparison],
    arms: Sequence[str],
    statistic: Callable[[Comparison, str], Statistic],
    function: Callable[..., Estimate],
    *,
    needed: Sequence[str] = (),
    evaluated: bool = True,
) -> Measured | None:
    """`function` applied to each arm's mean over the settings with all arms; None without any."""
    needed = needed or arms
    having = [c for c in settings if set(needed) <= set(c.evaluated if evaluated else c.arms)]
    if not having:
        return None
    return Measured(
        function(*(mean(statistic(comparison, key) for comparison in having) for key in arms)),
        # An untrained model has no seed of its own.
        min(len(c.seeds(key)) for c in having for key in needed if key != "base"),
        max(c.num_problems(key) for c in having for key in needed) if evaluated else 0,
        "paper" if all(c.scale == "paper" for c in having) else "toy",
    )
