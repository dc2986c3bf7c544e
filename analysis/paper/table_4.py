"""Table 4: the group-size ablation, Mean@n and Pass@n on every benchmark."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.exhibits.exhibit import Exhibit, main, records
from analysis.records import published
from analysis.records.frames import Runs
from analysis.stats.comparison import Comparison, comparisons
from analysis.stats.intervals import OVER_BOTH, Estimate
from twogrpo.run_record.arms import ABLATION, arm_label

ARMS = ("base", "two_grpo", *ABLATION)


def build(runs: Runs) -> Exhibit:
    """One row for each arm: 2-GRPO with its large mini-batch, then equal prompts at every G."""
    rows = [
        _row(comparison, key)
        for comparison in comparisons(runs)
        for key in ARMS
        if key in comparison.evaluated
    ]
    frame = pd.DataFrame(rows)
    return Exhibit(
        name="table_4",
        title="Table 4: the group-size ablation",
        frame=frame,
        table=_table(frame),
        note=(
            f"Percent; brackets: {OVER_BOTH}. Last columns: the paper's "
            "averages of the same cell, or of Qwen2.5-Math-1.5B on MATH where it has no such cell. "
            "Its Table 4 gives 34.15 for 16-GRPO there, its Table 1 34.31. "
            "Group sizes without a row were not run."
        ),
    )


def _row(comparison: Comparison, key: str) -> dict[str, Any]:
    run = comparison.runs[comparison.runs["arm"] == key].iloc[0]
    chosen = published.rows(4, published.nearest(comparison.setting), key)
    printed = {} if chosen.empty else chosen.iloc[0].to_dict()
    row: dict[str, Any] = {
        "dataset": comparison.setting[0],
        "model": comparison.setting[1],
        "arm": key,
        "group_size": run["group_size"],
        "prompts_per_minibatch": run["prompts_per_minibatch"],
        "rollouts_per_minibatch": run["prompts_per_minibatch"] * run["group_size"],
        "learning_rate": run["learning_rate"],
        "n_seeds": len(comparison.seeds(key)),
        "n_problems": comparison.num_problems(key),
        "n_samples": comparison.num_samples,
    }
    for metric, k in (("mean", None), ("pass", comparison.num_samples)):
        means = comparison.by_benchmark(key, k) | {"average": comparison.average(key, k)}
        for benchmark in [*comparison.benchmarks, "average"]:
            row |= means[benchmark].interval().columns(f"{benchmark}_{metric}")
        row[f"average_{metric}_published"] = printed.get(f"average_{metric}32", float("nan"))
    return row


def _table(frame: pd.DataFrame) -> pd.DataFrame:
    if frame.empty:
        return frame
    benchmarks = [n.removesuffix("_mean") for n in map(str, frame) if n.endswith("_mean")]
    n = int(frame["n_samples"].max())
    several = len(frame[["dataset", "model"]].drop_duplicates()) > 1
    rows = []
    for row in records(frame):
        cells = {"setting": f"{row['model']}, {row['dataset']}"} if several else {}
        cells |= {"arm": arm_label(row["arm"])}
        is_base = row["arm"] == "base"
        cells["prompts × G"] = (
            "–" if is_base else f"{row['prompts_per_minibatch']:.0f} × {row['group_size']}"
        )
        cells["learning rate"] = "–" if is_base else f"{row['learning_rate']:.0e}"
        for metric, name in (("mean", "Mean"), ("pass", "Pass")):
            for benchmark in benchmarks:
                head = published.benchmark_name(benchmark)
                cells[f"{head} {name}@{n}"] = _cell(row, f"{benchmark}_{metric}", benchmark)
            there = row[f"average_{metric}_published"]
            cells[f"published average {name}@32"] = "–" if np.isnan(there) else f"{there:.2f}"
        rows.append(cells)
    return pd.DataFrame(rows)


def _cell(row: dict[str, Any], name: str, benchmark: str) -> str:
    if benchmark != "average":
        return f"{row[name]:.1f}"
    return str(Estimate.of_columns(row, name))


if __name__ == "__main__":
    main(build)
