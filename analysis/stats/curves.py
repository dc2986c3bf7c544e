"""Training curves: a metric of the steps frame against time or work, averaged over seeds."""

from __future__ import annotations

import pandas as pd

from analysis.records import published
from analysis.stats.comparison import Comparison
from analysis.stats.intervals import seed_range
from twogrpo.run_record.rows import is_training_time

WINDOW = 4  # of the moving average, as in the paper's Figure 5


def at_published_step(step: int, last: int) -> int:
    """The step, from 1 to `last`, at the same share of the training as a step of the paper's."""
    return max(1, round(step / published.NUM_GENERATIONS * last))


def with_clocks(steps: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """The steps with columns `spent/…`: seconds, tokens, rollouts, updates and steps so far.

    Seconds are those of training. The last point is before the last checkpoint is saved.
    """
    phases = [name for name in map(str, steps) if is_training_time(name)]
    steps = steps.sort_values(["run_id", "step"])
    updates = runs.set_index("run_id")["updates_per_step"]
    seconds = steps[phases].sum(axis=1)
    return steps.assign(
        **{
            "spent/seconds": seconds.groupby(steps["run_id"]).cumsum(),
            "spent/tokens": steps["tokens/generated"].groupby(steps["run_id"]).cumsum(),
            "spent/rollouts": steps["rollouts/generated"],
            "spent/updates": (steps["step"] + 1) * steps["run_id"].map(updates),
            "spent/generations": steps["step"] + 1.0,
        }
    )


def smoothed(steps: pd.DataFrame, metric: str, window: int = WINDOW) -> pd.Series:
    """The moving mean of the last `window` logged values of a run, of fewer at its start."""
    logged = steps[metric].dropna()
    return logged.groupby(steps["run_id"]).transform(
        lambda values: values.rolling(window, min_periods=1).mean()
    )


def curve(comparison: Comparison, arm: str, metric: str, x: str, window: int) -> pd.DataFrame:
    """The means over seeds, by step, of the column `x` and of the smoothed metric.

    Columns step, x, value, low, high (the range of the seeds), n_seeds; only steps that every seed
    logged.
    """
    steps = comparison.steps[comparison.steps["arm"] == arm]
    if metric not in steps:
        return pd.DataFrame(columns=["step", "x", "value", "low", "high", "n_seeds"])
    steps = with_clocks(steps, comparison.runs)
    steps = steps.assign(value=smoothed(steps, metric, window)).dropna(subset=["value"])
    rows = []
    num_seeds = steps["seed"].nunique()
    for step, at_step in steps.groupby("step"):
        if len(at_step) < num_seeds:
            continue
        estimate = seed_range(at_step["value"])
        rows.append(
            (step, float(at_step[x].mean()), estimate.value, estimate.low, estimate.high, num_seeds)
        )
    return pd.DataFrame(rows, columns=["step", "x", "value", "low", "high", "n_seeds"])
