"""How often the intervals hold the truth, by simulation: python -m analysis.stats.coverage

Two arms of known accuracy are evaluated on the same random problems with random seeds: logits of
normal problems, seeds, and pairs of both; binomial samples. docs/choices.md has what this prints.

S seeds, B benchmarks, N problems.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd

from analysis.exhibits.exhibit import markdown
from analysis.stats.intervals import Array, Scores, Statistic, mean, of_seeds

NUM_DRAWS, FEWER_DRAWS = 4000, 1000  # the second of the further quantities
NUM_BENCHMARKS, NUM_PROBLEMS, NUM_SAMPLES = 5, 100, 32
# Logits: the middles of 16-GRPO and 2-GRPO; the spread of the problems, shared and of each arm.
MIDDLES, SHARED, OWN = (3.9, 3.2), 1.9, 0.3
BOTH = (0.6, 1.0)  # the spread of pairs of a seed and a problem, in 16-GRPO and in 2-GRPO
# The spread of the seeds in both; what the committed runs show is about the third.
SEEDS = {
    "not at all": (0.0, 0.0),
    "little": (0.05, 0.12),
    "as in our three": (0.14, 0.27),
    "as in six of 2-GRPO": (0.13, 0.40),
    "much": (0.25, 0.55),
}
TIME_SPREADS = (0.03, 0.08)  # of both arms' seconds, relative
Means = Sequence[Statistic]  # by benchmark
Quantity = tuple[Callable[[Means, Means], Statistic], float]
# A statistic of 2-GRPO and 16-GRPO, and the level of its interval: of Mean@32, with Welch's t …
QUANTITIES: dict[str, Quantity] = {
    "average": (lambda ours, baseline: mean(ours), 0.95),
    "difference": (lambda ours, baseline: mean(ours) - mean(baseline), 0.95),
    "TOST (90 %)": (lambda ours, baseline: mean(ours) - mean(baseline), 0.90),
    "retention": (lambda ours, baseline: mean(ours) / mean(baseline), 0.95),
}
# … and further ones, of which those named Pass are of Pass@32.
FURTHER: dict[str, Quantity] = {
    "one benchmark": (lambda ours, baseline: ours[0], 0.95),
    "mean of ratios": (
        lambda ours, baseline: mean(x / y for x, y in zip(ours, baseline, strict=True)), 0.95,
    ),
    "Pass@32": QUANTITIES["average"],
    "Pass@32 retention": QUANTITIES["retention"],
}  # fmt: skip


def means(arm: Scores) -> Means:
    """The benchmarks' means with the intervals of this package."""
    return list(arm.benchmark_means().values())


def means_of_seeds(arm: Scores) -> Means:
    """The benchmarks' means as one number a seed, which forgets that the problems are a sample."""
    return [of_seeds(arm.arm, scores.mean(axis=1)) for scores in arm.scores_SN.values()]


METHODS = {"ours": means, "Welch's t": means_of_seeds}


def coverage(
    spreads: tuple[float, float],
    num_seeds: int,
    *,
    quantities: Mapping[str, Quantity] = QUANTITIES,
    methods: Mapping[str, Callable[[Scores], Means]] = METHODS,
) -> dict[tuple[str, str], float]:
    """The share of draws whose interval holds the truth, in percent, by quantity and method."""
    rng = np.random.default_rng(0)
    num_draws = FEWER_DRAWS if quantities is FURTHER else NUM_DRAWS
    hits = dict.fromkeys(product(quantities, methods), 0)
    true = {
        is_pass: [
            [Statistic(_truth(*each, is_pass))] * NUM_BENCHMARKS
            for each in zip(MIDDLES, spreads, BOTH, strict=True)
        ]
        for is_pass in (False, True)
    }
    for _ in range(num_draws):
        arms = _draw(spreads, num_seeds, rng)
        drawn = {False: arms, True: [_passed(arm) for arm in arms]}
        for name, method in hits:
            function, level = quantities[name]
            baseline, ours = (methods[method](arm) for arm in drawn[name.startswith("Pass")])
            truth = function(*true[name.startswith("Pass")][::-1]).value
            hits[name, method] += _holds(function(ours, baseline), truth, level)
    return {key: 100 * count / num_draws for key, count in hits.items()}


def coverage_of_times(num_seeds: int, *, num_draws: int = 5 * NUM_DRAWS) -> dict[str, float]:
    """The same of a ratio of mean seconds, and of the range of one arm's seeds."""
    rng = np.random.default_rng(0)
    hits = {"time share": 0, "range of the seeds": 0}
    for _ in range(num_draws):
        slow, fast = (1 + spread * rng.standard_normal(num_seeds) for spread in TIME_SPREADS)
        hits["time share"] += _holds(of_seeds("fast", fast) / of_seeds("slow", slow), 1.0, 0.95)
        hits["range of the seeds"] += bool(fast.min() <= 1.0 <= fast.max())
    return {name: 100 * count / num_draws for name, count in hits.items()}


def table(
    quantities: Mapping[str, Quantity], methods: Mapping[str, Callable[[Scores], Means]]
) -> pd.DataFrame:
    """A row for each spread and number of seeds; in parentheses the second method, if any."""
    rows = []
    for (name, spreads), num_seeds in product(SEEDS.items(), (3, 5)):
        found = coverage(spreads, num_seeds, quantities=quantities, methods=methods)
        cells = {}
        for quantity in quantities:
            first, *others = (f"{found[quantity, method]:.1f}" for method in methods)
            cells[quantity] = " ".join([first, *(f"({other})" for other in others)])
        rows.append({"seeds differ": name, "seeds": num_seeds, **cells})
    return pd.DataFrame(rows)


def _draw(spreads: tuple[float, float], num_seeds: int, rng: np.random.Generator) -> list[Scores]:
    shape = (1, NUM_BENCHMARKS, NUM_PROBLEMS)
    names = [str(i) for i in range(NUM_BENCHMARKS)]
    shared = SHARED * rng.standard_normal(shape)
    arms = []
    for middle, spread, both in zip(MIDDLES, spreads, BOTH, strict=True):
        logits = middle + shared + OWN * rng.standard_normal(shape)
        logits = logits + spread * rng.standard_normal((num_seeds, 1, 1))
        logits = logits + both * rng.standard_normal((num_seeds, *shape[1:]))
        scores_SBN: Array = rng.binomial(NUM_SAMPLES, 1 / (1 + np.exp(-logits))) * 100 / NUM_SAMPLES
        of_benchmark = {name: scores_SBN[:, i] for i, name in enumerate(names)}
        arms.append(Scores(middle, dict.fromkeys(names, ()), of_benchmark))
    return arms


def _passed(arm: Scores) -> Scores:
    """The same samples judged by Pass@32: whether any is right."""
    return replace(arm, scores_SN={n: (x > 0) * np.float64(100) for n, x in arm.scores_SN.items()})


def _truth(middle: float, spread: float, both: float, is_pass: bool) -> float:
    """Mean@32 or Pass@32 over all seeds and problems, by Gauss and Hermite's quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    width = np.sqrt(SHARED**2 + OWN**2 + spread**2 + both**2)
    chances = 1 / (1 + np.exp(-middle - width * nodes))
    chances = 1 - (1 - chances) ** NUM_SAMPLES if is_pass else chances
    return float(100 * np.average(chances, weights=weights))


def _holds(statistic: Statistic, truth: float, level: float) -> bool:
    found = statistic.interval(level)
    return found.low <= truth <= found.high


if __name__ == "__main__":
    sys.stdout.write(markdown(table(QUANTITIES, METHODS)))
    sys.stdout.write(markdown(table(FURTHER, {"ours": means})))
    for count in (3, 5):
        sys.stdout.write(f"{count} seeds: {coverage_of_times(count)}\n")
