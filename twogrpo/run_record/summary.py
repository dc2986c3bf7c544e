"""A run's summary, from its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twogrpo.run_record.rows import (
    CLOCKS,
    benchmark_results,
    column_sums,
    training_rows,
    training_seconds,
)


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Seconds by phase and tokens, summed over the run; its last counters; the benchmarks' average.

    `seconds/training` counts all phases but validation and evaluation (see `training_seconds`).
    """
    summed = dict[str, float]()
    for kind in (*CLOCKS, "tokens"):
        summed |= column_sums(rows, kind)
    for clock in CLOCKS:
        summed[f"{clock}/training"] = training_seconds(rows, clock)
    last = training_rows(rows)[-1:]
    counters = {n: v for row in last for n, v in row.items() if n.startswith("rollouts/")}
    means = [result["mean"] for result in benchmark_results(rows).values() if "mean" in result]
    average = {"evaluation/average": sum(means) / len(means)} if means else {}
    return summed | counters | average
