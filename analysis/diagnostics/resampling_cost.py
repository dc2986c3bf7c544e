"""Beyond the paper: the cost of 2-GRPO+RS, step by step, for batches of pairs with signal."""

from __future__ import annotations

import pandas as pd

from analysis.exhibits.exhibit import Exhibit, main
from analysis.exhibits.style import band, heading, panels
from analysis.records.frames import Runs
from analysis.stats.comparison import BASELINE, Comparison, comparisons
from analysis.stats.intervals import seed_range

ARM = "two_grpo_rs"


def build(runs: Runs) -> Exhibit:
    """Left: rollouts drawn for one that is kept. Right: the share of 16-GRPO's budget spent."""
    settings = [c for c in comparisons(runs) if ARM in c.arms]
    figure, axes = panels(max(len(settings), 1), 2)
    frames = []
    for (left, right), comparison in zip(axes, settings, strict=False):
        lines = cost(comparison)
        count = comparison.count_seeds([ARM])
        for axis, name, what, unit in (
            (left, "drawn_per_kept", "Rollouts drawn for one kept", "rollouts"),
            (right, "budget_share", "Rollouts drawn so far", "share of 16-GRPO's"),
        ):
            line = lines[lines["measure"] == name]
            if len(line):
                band(axis, ARM, line["step"], line["value"], line["low"], line["high"])
            heading(axis, what, comparison.name, count)
            axis.set_xlabel("generation")
            axis.set_ylabel(unit)
        frames.append(lines)
    return Exhibit(
        name="resampling_cost",
        title="What resampling costs",
        frame=pd.concat(frames) if frames else pd.DataFrame(),
        figure=figure,
        note=(
            "Bands: the range of the seeds. 1 rollout drawn for one kept: no dead pair. Once "
            "the budget is drawn (right: 1), a generation draws no more than one of 16-GRPO."
        ),
    )


def cost(comparison: Comparison) -> pd.DataFrame:
    """By step: rollouts drawn for one that enters a batch, and the share of the budget spent."""
    steps = comparison.steps[comparison.steps["arm"] == ARM].sort_values(["run_id", "step"])
    drawn, kept = (
        steps.groupby("run_id")[name].diff().fillna(steps[name])
        for name in ("rollouts/generated", "rollouts/kept")
    )
    measures = {"drawn_per_kept": drawn / kept}
    baseline = comparison.steps[comparison.steps["arm"] == BASELINE]
    if len(baseline):
        budget = baseline.groupby("step")["rollouts/generated"].mean()
        measures["budget_share"] = steps["rollouts/generated"] / steps["step"].map(budget)
    rows = []
    for name, values in measures.items():
        for step, at_step in steps.assign(value=values).groupby("step"):
            estimate = seed_range(at_step["value"])
            rows.append((name, int(step) + 1, estimate.value, estimate.low, estimate.high))
    frame = pd.DataFrame(rows, columns=["measure", "step", "value", "low", "high"])
    return frame.assign(dataset=comparison.setting[0], model=comparison.setting[1])


if __name__ == "__main__":
    main(build)
