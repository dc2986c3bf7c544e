"""Table 1: accuracy on every benchmark, time and rollouts of the arms, and the paper's numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.exhibits.exhibit import Exhibit, main, records
from analysis.exhibits.style import time_unit
from analysis.records import published
from analysis.records.frames import Runs
from analysis.stats.comparison import BASELINE, Comparison, comparisons
from analysis.stats.intervals import OVER_BOTH, OVER_SEEDS, Estimate
from twogrpo.run_record.arms import arm_label

NAN = float("nan")
NO_ESTIMATE = Estimate(NAN, NAN, NAN)


def build(runs: Runs) -> Exhibit:
    """One row for each setting and evaluated arm."""
    rows = [_row(c, key) for c in comparisons(runs) for key in c.evaluated]
    frame = pd.DataFrame(rows)
    return Exhibit(
        name="table_1",
        title="Table 1: every arm beside 16-GRPO",
        frame=frame,
        table=_table(frame),
        note=(
            f"Percent; brackets: {OVER_BOTH}, of time {OVER_SEEDS}; Δ in points and "
            "shares relative to 16-GRPO. In parentheses what the paper published for the same "
            "cell, or for the shares over its four settings (v3). Time is training alone; with the "
            "final evaluation in the CSV."
        ),
    )


def _row(comparison: Comparison, key: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "dataset": comparison.setting[0],
        "model": comparison.setting[1],
        "arm": key,
        "label": arm_label(key),
        "n_seeds": len(comparison.seeds(key)),
        "n_problems": comparison.num_problems(key),
        "n_samples": comparison.num_samples,
    }
    for metric, k in (("mean", None), ("pass", comparison.num_samples)):
        means = comparison.by_benchmark(key, k)
        for benchmark in comparison.benchmarks:
            row |= means[benchmark].interval().columns(f"{benchmark}_{metric}")
        row |= comparison.average(key, k).interval().columns(f"average_{metric}")
        for name, value in published.scores(comparison.setting, key, f"{metric}32").items():
            row[f"{name}_{metric}_published"] = value
    return row | _costs(comparison, key)


def _costs(comparison: Comparison, key: str) -> dict[str, Any]:
    """The costs relative to 16-GRPO; NaN for an arm without training, or without the baseline."""
    has_cost = BASELINE in comparison.evaluated and key != "base"
    row: dict[str, Any] = {}
    for name in ("seconds_training", "cpu_seconds_training", "rollouts_generated"):
        row[name] = comparison.total(key, name).value if key != "base" else NAN
        share = comparison.share(key, name) if has_cost else NO_ESTIMATE
        row |= share.columns(f"{name}_share")
    both = [comparison.total(key, name) for name in ("seconds_training", "seconds_evaluation")]
    row["seconds_with_evaluation"] = (both[0] + both[1]).value if key != "base" else NAN
    compared = BASELINE in comparison.evaluated
    row |= (comparison.difference(key) if compared else NO_ESTIMATE).columns("delta")
    on_par = comparison.difference(key, level=0.90) if compared else NO_ESTIMATE
    row |= {"delta_90_low": on_par.low, "delta_90_high": on_par.high}  # of TOST at 5 %
    row |= (comparison.retention(key) if compared else NO_ESTIMATE).columns("retention")
    return row | _published_shares(comparison, key)


def _published_shares(comparison: Comparison, key: str) -> dict[str, Any]:
    if key not in ("two_grpo", "two_grpo_rs"):
        return {}
    rollouts = published.ROLLOUTS_MILLION
    row = {"rollouts_generated_share_published": rollouts["two_grpo"] / rollouts[BASELINE]}
    values = published.headline(key)
    hours = [published.hours(comparison.setting, a) for a in (key, BASELINE)]
    averages = [published.scores(comparison.setting, a).get("average") for a in (key, BASELINE)]
    retention = averages[0] / averages[1] if averages[0] and averages[1] else values.retention
    return {
        "retention_published": retention,
        "seconds_training_share_published": hours[0] / hours[1]
        if hours[0] and hours[1]
        else values.time_share,
        **(row if key == "two_grpo" else {}),
    }


def _table(frame: pd.DataFrame) -> pd.DataFrame:
    if frame.empty:
        return frame
    benchmarks = [n.removesuffix("_mean") for n in map(str, frame) if n.endswith("_mean")]
    n = int(frame["n_samples"].max())
    per_unit, unit = time_unit(frame["seconds_training"].max())
    settings = frame[["dataset", "model"]].drop_duplicates()
    rows = []
    for row in records(frame):
        cells = {"setting": f"{row['model']}, {row['dataset']}"} if len(settings) > 1 else {}
        cells |= {"arm": row["label"]}
        for benchmark in benchmarks:
            name = published.benchmark_name(benchmark)
            with_interval = benchmark == "average"
            cells[f"{name} Mean@{n} %"] = _cell(row, f"{benchmark}_mean", 1, 1, with_interval)
        cells[f"average Pass@{n} %"] = _cell(row, "average_pass", 1, 1, False)
        cells["Δ points"] = _cell(row, "delta", 1, 1, True)
        cells["retained %"] = _cell(row, "retention", 100, 1, True)
        cells[f"time {unit}"] = _cell(row, "seconds_training", 1 / per_unit, 1, False)
        cells["time %"] = _cell(row, "seconds_training_share", 100, 1, True)
        cells["rollouts"] = _cell(row, "rollouts_generated", 1, 0, False)
        cells["rollouts %"] = _cell(row, "rollouts_generated_share", 100, 1, False)
        rows.append(cells)
    return pd.DataFrame(rows)


def _cell(row: dict[str, Any], name: str, factor: float, digits: int, with_interval: bool) -> str:
    value, low, high = (factor * row.get(name + end, NAN) for end in ("", "_low", "_high"))
    if np.isnan(value):
        return "–"
    text = f"{value:,.{digits}f}"
    if with_interval and low < high:  # one seed has no interval of its time
        text += f" [{low:,.{digits}f}, {high:,.{digits}f}]"
    there = factor * row.get(f"{name}_published", NAN)
    return text if np.isnan(there) else f"{text} ({there:.{digits}f})"


if __name__ == "__main__":
    main(build)
