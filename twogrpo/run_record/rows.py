"""The schema of a record's rows: training rows, the time of training, the benchmarks' columns.

A row holds numbers by name. A training row is one step of the loop; `step` counts from 0. The final
row, at `step` = number of steps, holds the results of the final evaluation, if there is one, and
the seconds of the phases after the last step: `save`, the last checkpoint, and `export`, the
policy in `final/`. Rows of older records lack those seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

Row = Mapping[str, Any]

CLOCKS = ("seconds", "cpu_seconds")
# Phases that are no part of training. Saving checkpoints and exporting the policy are.
EVALUATION_PHASES = ("validate", "evaluate")


def is_training_row(row: Row) -> bool:
    """Whether the row is a step of the loop."""
    return "rollouts/generated" in row


def training_rows(rows: Iterable[Row]) -> list[Row]:
    """The rows that are steps of the loop."""
    return [row for row in rows if is_training_row(row)]


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
    for row in rows:
        for name, value in row.items():
            if name.startswith(f"{kind}/"):
                values.setdefault(name, []).append(value)
    return {name: math.fsum(values[name]) for name in sorted(values)}


def benchmark_results(rows: Iterable[Row]) -> dict[str, dict[str, Any]]:
    """The values of the columns `evaluation/<benchmark>/<name>`, by benchmark and name.

    Where several rows hold a column, the last one counts.
    """
    results: dict[str, dict[str, Any]] = {}
    for row in rows:
        for column, value in row.items():
            if column.startswith("evaluation/") and column.count("/") == 2:
                _, benchmark, name = column.split("/")
                results.setdefault(benchmark, {})[name] = value
    return results
