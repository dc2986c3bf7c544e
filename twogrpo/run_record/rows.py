"""The schema of a record's rows: training rows, training time, benchmarks' columns, the summary.

A row holds numbers by name. A training row is one step of the loop; `step` counts from 0. The final
row, at `step` = number of steps, holds the results of the final evaluation, if there is one, and
the seconds of the phases after the last step: `save`, the last checkpoint, and `export`, the
policy in `final/`. Rows of older records lack those seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

CLOCKS = ("seconds", "cpu_seconds")
# Phases that are no part of training. Saving checkpoints and exporting the policy are.
EVALUATION_PHASES = ("validate", "evaluate")


def training_rows(rows: Iterable[Row]) -> list[Row]:
    """The rows that are steps of the loop."""
    return [row for row in rows if "rollouts/generated" in row]


def is_training_time(name: str, clock: str = "seconds") -> bool:
    """Whether a column holds time of training.

    >>> is_training_time("seconds/save"), is_training_time("seconds/validate")
    (True, False)
    """
    kind, _, phase = name.partition("/")
    return kind == clock and phase not in EVALUATION_PHASES


def training_seconds(rows: Iterable[Row], clock: str = "seconds") -> float:
    """The seconds of training: all phases but validation and evaluation, of all rows.

    The final row counts, so that the last checkpoint and the export are part of the time.
    `clock` is "seconds" (of the wall) or "cpu_seconds".
    """
    return math.fsum(
        value for row in rows for name, value in row.items() if is_training_time(name, clock)
    )


def column_sums(rows: Iterable[Row], kind: str) -> dict[str, float]:
    """The sums over all rows of the columns `kind/…`, in the order of their names.

    >>> column_sums([{"seconds/save": 1.0}, {"seconds/save": 2.0, "step": 1}], "seconds")
    {'seconds/save': 3.0}
    """
    values: dict[str, list[float]] = {}
    for name, value in (pair for row in rows for pair in row.items()):
        if name.startswith(f"{kind}/"):
            values.setdefault(name, []).append(value)
    return {name: math.fsum(values[name]) for name in sorted(values)}


def benchmark_results(rows: Iterable[Row]) -> dict[str, dict[str, Any]]:
    """The values of the columns `evaluation/<benchmark>/<name>`, by benchmark and name.

    Where several rows hold a column, the last one counts.
    """
    results: dict[str, dict[str, Any]] = {}
    for column, value in (pair for row in rows for pair in row.items()):
        if column.startswith("evaluation/") and column.count("/") == 2:
            _, benchmark, name = column.split("/")
            results.setdefault(benchmark, {})[name] = value
    return results


def summary(rows: Sequence[Row]) -> dict[str, Any]:
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
