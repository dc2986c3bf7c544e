"""The schema of a record's rows: training rows, training time, benchmarks' columns, the summary.

A row holds numbers by name. A training row is one step of the loop; `step` counts from 0. The final
row, at `step` = number of steps, holds the results of the final evaluation, if there is one, and
the seconds of the phases after the last step: `save`, the last checkpoint, and `export`, the
policy in `final/`. Rows of older records lack those seconds.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

CLOCKS = ("seconds", "cpu_seconds")
# Phases that are no part of training. Saving checkpoints and exporting the policy are.
EVALUATION_PHASES = ("validate", "evaluate")
# The kinds of columns that are summed over a run, or counted up.
TOTALS = (*CLOCKS, "tokens", "rollouts")


def check_rows(rows: Sequence[Row]) -> None:
    """Checks that every step is there once, in order, with totals that can be summed.

    A run's rows begin at step 0; an evaluation's only row is at the step of its checkpoint.

    Raises:
        ValueError: a row is missing, there twice or has a value that cannot be; it is named.
    """
    for number, row in enumerate(rows, 1):
        step = row.get("step")
        if not isinstance(step, int) or isinstance(step, bool) or step < 0:
            raise ValueError(
                f"line {number} has no step" if step is None else f"line {number}: step={step!r}"
            )
        expected = rows[0]["step"] + number - 1
        if number == 1 and (len(rows) > 1 or training_rows(rows)):
            expected = 0
        if step != expected:
            raise ValueError(f"line {number} is of step {step} where step {expected} belongs")
        for name, value in row.items():
            if name.partition("/")[0] in TOTALS and not _is_total(value):
                raise ValueError(f"line {number}: {name}={value!r} is no number from 0 up")
    for benchmark, result in benchmark_results(rows).items():
        num_samples, counts = result.get("num_samples"), result.get("num_correct")
        if not (
            _is_total(num_samples)
            and num_samples
            and isinstance(counts, list)
            and isinstance(result.get("problem_ids"), list)
            and len(counts) == len(result["problem_ids"]) > 0
            and all(_is_total(count) and count <= num_samples for count in counts)
        ):
            raise ValueError(
                f"evaluation/{benchmark} lacks problem_ids, num_correct or num_samples"
            )


def _is_total(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value <= sys.float_info.max  # not NaN; an int may be over it


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
