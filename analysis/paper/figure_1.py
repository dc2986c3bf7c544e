"""Figure 1: average accuracy against training time, a point for each arm, and the paper's.

The ablation's arms are in Figure 4.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from analysis.exhibits.exhibit import Exhibit, main
from analysis.exhibits.style import heading, legend, look, panels, time_unit
from analysis.records import published
from analysis.records.frames import Runs
from analysis.stats.comparison import Comparison, comparisons
from analysis.stats.intervals import OVER_BOTH, OVER_SEEDS, Estimate
from twogrpo.run_record.arms import MAIN


def build(runs: Runs) -> Exhibit:
    """Left: our measurement. Right: the same cell of the paper, or else the one in its figure."""
    settings = [c for c in comparisons(runs) if c.evaluated]
    figure, axes = panels(max(len(settings), 1), 2)
    rows: list[dict[str, Any]] = []
    for (left, right), comparison in zip(axes, settings, strict=False):
        rows += _measured(left, comparison)
        rows += _published(right, comparison)
    legend(figure, axes)
    return Exhibit(
        name="figure_1",
        title="Figure 1: accuracy against training time",
        frame=pd.DataFrame(rows),
        figure=figure,
        note=(
            f"Bars: of accuracy {OVER_BOTH}, of time {OVER_SEEDS}. Published: one cell of the "
            "paper; the numbers in parentheses of Table 1 are means of its four."
        ),
    )


def _measured(axis: Axes, comparison: Comparison) -> list[dict[str, Any]]:
    arms = comparison.evaluated_arms
    rows = [_row(comparison, key) for key in arms]
    factor, unit = time_unit(max(row["seconds"] for row in rows))
    for row in rows:
        x, y = row["seconds"] / factor, row["average"]
        axis.errorbar(
            x,
            y,
            xerr=[[x - row["seconds_low"] / factor], [row["seconds_high"] / factor - x]],
            yerr=[[y - row["average_low"]], [row["average_high"] - y]],
            elinewidth=1,
            **(look(row["arm"]) | {"linestyle": "none"}),
        )
    heading(axis, "Measured", comparison.name, f"{comparison.counts(arms)}; bars: 95 %")
    axis.set_xlabel(f"training time ({unit})")
    axis.set_ylabel(f"average Mean@{comparison.num_samples} (%)")
    return rows


def _row(comparison: Comparison, key: str) -> dict[str, Any]:
    accuracy = comparison.average(key).interval()
    seconds = Estimate(0, 0, 0)
    if key != "base":
        seconds = comparison.total(key, "seconds_training").interval()
    return {
        "source": "measured",
        "dataset": comparison.setting[0],
        "model": comparison.setting[1],
        "arm": key,
        **seconds.columns("seconds"),
        **accuracy.columns("average"),
        "n_seeds": len(comparison.seeds(key)),
        "n_problems": comparison.num_problems(key),
    }


def _published(axis: Axes, comparison: Comparison) -> list[dict[str, Any]]:
    setting = published.nearest(comparison.setting)
    rows = []
    for key in MAIN:
        average = published.scores(setting, key).get("average")
        if average is None:
            continue
        hours = published.hours(setting, key) or 0.0
        axis.plot(hours, average, **(look(key) | {"linestyle": "none"}))
        names = {"source": "published", "dataset": setting[0], "model": setting[1], "arm": key}
        rows.append(names | {"seconds": 3600 * hours, "average": average})
    where = (f"{setting[1]} on {setting[0]}", "one seed, no intervals")
    heading(axis, f"Published ({published.version(setting)})", *where)
    axis.set_xlabel("training time (h)")
    axis.set_ylabel("average Mean@32 (%)")
    return rows


if __name__ == "__main__":
    main(build)
