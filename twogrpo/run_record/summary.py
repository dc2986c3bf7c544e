"""A run's summary, from its rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """About the whole run, from its rows: seconds by phase and tokens summed, last counters.

    `seconds/training` is all phases but validation; the final evaluation has its own seconds.
    """
    steps = [row for row in rows if "reward/mean" in row]
    summed = {
        name: math.fsum(row.get(name, 0.0) for row in steps)
        for name in sorted({name for row in steps for name in row})
        if name.startswith(("seconds/", "cpu_seconds/", "tokens/"))
    }
    for clock in ("seconds", "cpu_seconds"):
        summed[f"{clock}/training"] = math.fsum(
            value
            for name, value in summed.items()
            if name.startswith(f"{clock}/") and name != f"{clock}/validate"
        )
    counters = {n: v for n, v in steps[-1].items() if n.startswith("rollouts/")} if steps else {}
    final = {
        name: value for row in rows for name, value in row.items() if name.startswith("evaluation/")
    }
    means = [value for name, value in final.items() if name.endswith("/mean")]
    average = {"evaluation/average": sum(means) / len(means)} if means else {}
    return summed | counters | average
