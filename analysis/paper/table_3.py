"""Table 3: the share of pairs without a gradient, step by step: measured, and by the formula.

The paper estimates the rate at the mean reward, r̄² + (1−r̄)². The measured share of zero-variance
groups at G = 2 is, in expectation, the mean of p² + (1−p)² over the prompts; it is at least as
large (Jensen), and larger the more the prompts differ in difficulty. The paper's Appendix D.3
prints 1 − r̄² − (1−r̄)², which is the share of pairs that are kept.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.exhibits.exhibit import Exhibit, main, records
from analysis.exhibits.style import heading, legend, panels
from analysis.records import published
from analysis.records.frames import Runs
from analysis.stats.comparison import Comparison, comparisons
from analysis.stats.curves import WINDOW, at_published_step, smoothed
from analysis.stats.intervals import seed_range

ARM = "two_grpo"
RATES = {
    "groups/discard_rate": ("measured", "#D55E00"),
    "groups/discard_rate_of_mean": ("r̄² + (1−r̄)²", "#0072B2"),
    "groups/kept_rate_of_mean": ("1 − r̄² − (1−r̄)² (as printed)", "#999999"),
}


def build(runs: Runs) -> Exhibit:
    """Rows at the same shares of the training as the paper's steps; the figure shows every step."""
    settings = [c for c in comparisons(runs) if ARM in c.arms]
    table = pd.DataFrame([row for c in settings for row in _rows(c)])
    return Exhibit(
        name="table_3",
        title="Table 3: share of 2-GRPO's groups with zero advantage",
        frame=table,
        table=_table(table),
        figure=_figure(settings),
        note=(
            "Mean over seeds; brackets: their range, not an interval. Moving average over "
            f"{WINDOW} generations. Published: Qwen2.5-Math-7B on MATH, at the same share of its "
            f"{published.NUM_GENERATIONS} steps. r̄ is the mean reward; the second formula, "
            "printed in the paper's Appendix D.3, is the share of pairs that are kept."
        ),
    )


def rates(comparison: Comparison) -> pd.DataFrame:
    """The mean and the range of the seeds, smoothed, by step and rate."""
    steps = comparison.steps[comparison.steps["arm"] == ARM].sort_values(["run_id", "step"])
    rows = []
    for name in RATES:
        values = steps.assign(value=smoothed(steps, name))
        for step, at_step in values.groupby("step"):
            estimate = seed_range(at_step["value"])
            rows.append((name, int(step) + 1, estimate.value, estimate.low, estimate.high))
    return pd.DataFrame(rows, columns=["rate", "step", "value", "low", "high"])


def _rows(comparison: Comparison) -> list[dict[str, object]]:
    found = rates(comparison)
    last = int(found["step"].max())
    rows = []
    for printed in published.table(3).itertuples():
        step = at_published_step(printed.step, last)
        row: dict[str, object] = {
            "dataset": comparison.setting[0],
            "model": comparison.setting[1],
            "step": step,
            "of_steps": last,
            "n_seeds": len(comparison.seeds(ARM)),
        }
        for rate in found[found["step"] == step].itertuples():
            name = str(rate.rate).removeprefix("groups/")
            row |= {name: rate.value, f"{name}_low": rate.low, f"{name}_high": rate.high}
        rows.append(row | {"published_step": printed.step, "published": printed.discard_rate})
    return rows


def _table(frame: pd.DataFrame) -> pd.DataFrame:
    several = len(frame[["dataset", "model"]].drop_duplicates()) > 1 if len(frame) else False
    rows = []
    for row in records(frame):
        cells = {"setting": f"{row['model']}, {row['dataset']}"} if several else {}
        cells["step"] = f"{row['step']} of {row['of_steps']}"
        for key, (label, _) in RATES.items():
            name = key.removeprefix("groups/")
            cells[label] = f"{row[name]:.3f} [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]"
        cells["published step"] = str(row["published_step"])
        cells["published"] = f"{row['published']:.4f}"
        rows.append(cells)
    return pd.DataFrame(rows)


def _figure(settings: list[Comparison]) -> Figure:
    figure, axes = panels(1, max(len(settings), 1))
    for axis, comparison in zip(axes.flat, settings, strict=False):
        found = rates(comparison)
        for name, (label, colour) in RATES.items():
            line = found[found["rate"] == name]
            axis.plot(line["step"], line["value"], color=colour, label=label)
            axis.fill_between(line["step"], line["low"], line["high"], color=colour, alpha=0.15)
        last = found["step"].max()
        printed = published.table(3)
        x = printed["step"] / published.NUM_GENERATIONS * last
        axis.plot(x, printed["discard_rate"], "kx", label="published, 7B on MATH")
        count = comparison.count_seeds([ARM])
        heading(axis, "2-GRPO's pairs without a gradient", comparison.name, count)
        axis.set_xlabel(f"generation (published: step × {last}/{published.NUM_GENERATIONS})")
        axis.set_ylabel("share of groups")
    legend(figure, axes)
    return figure


if __name__ == "__main__":
    main(build)
