"""Figures of training curves: some metrics against time or work, for some arms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter

from analysis.exhibits.exhibit import Exhibit
from analysis.exhibits.style import band, heading, legend, panels, time_unit
from analysis.records.frames import Runs
from analysis.stats.comparison import Comparison, comparisons
from analysis.stats.curves import WINDOW, curve
from twogrpo.run_record.arms import MAIN

SPENT = {
    "spent/seconds": "training time",
    "spent/rollouts": "rollouts generated",
    "spent/tokens": "tokens generated",
    "spent/updates": "optimiser steps",
    "spent/generations": "generation",
}


@dataclass(frozen=True)
class Panel:
    """A metric of the steps, its label and unit in the figure, and the column on the x axis."""

    metric: str
    label: str
    unit: str
    x: str = "spent/seconds"


def curves_exhibit(
    runs: Runs,
    name: str,
    title: str,
    *,
    shown: Sequence[Panel],
    arms: Sequence[str] = (),
    num_columns: int = 2,
) -> Exhibit:
    """A block of panels for each setting; a panel whose metric no run logged is left out.

    Args:
        arms: those to draw; by default all but the ablation's.
    """
    blocks = [(c, _curves(c, arms or c.compared_arms, shown)) for c in comparisons(runs)]
    blocks = [(c, lines) for c, lines in blocks if lines]
    num_rows = sum(-(-len(lines) // num_columns) for _, lines in blocks)
    width = 3.4 if num_columns <= 2 else 2.3
    figure, axes = panels(max(num_rows, 1), num_columns, width=width)
    unused, frames = list(axes.flat), []
    for comparison, lines in blocks:
        for panel, line in lines.items():
            count = comparison.count_seeds(line["arm"].unique())
            where = [f"{count}, moving mean of {WINDOW}", *comparison.not_run(arms or MAIN)]
            _draw(unused.pop(0), panel, line, [comparison.name, *where])
            frames.append(line)
        while len(unused) % num_columns:
            unused.pop(0).set_axis_off()
    legend(figure, axes)
    return Exhibit(
        name=name,
        title=title,
        frame=pd.concat(frames) if frames else pd.DataFrame(),
        figure=figure,
        note=f"Moving average over {WINDOW} logged values; bands: the range of the seeds.",
    )


def _curves(
    comparison: Comparison, arms: Sequence[str], shown: Sequence[Panel]
) -> dict[Panel, pd.DataFrame]:
    found = {}
    for panel in shown:
        lines = []
        for key in (key for key in arms if key in comparison.arms):
            line = curve(comparison, key, panel.metric, panel.x, WINDOW)
            who = {"dataset": comparison.setting[0], "model": comparison.setting[1], "arm": key}
            lines.append(line.assign(**who, metric=panel.metric, against=panel.x))
        if sum(map(len, lines)):
            found[panel] = pd.concat([line for line in lines if len(line)])
    return found


def _draw(axis: Axes, panel: Panel, lines: pd.DataFrame, where: Sequence[str]) -> None:
    factor, unit = 1.0, ""
    if panel.x == "spent/seconds":
        factor, unit = time_unit(lines["x"].max())
    else:
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    for key, line in lines.groupby("arm", sort=False):
        band(axis, str(key), line["x"] / factor, line["value"], line["low"], line["high"])
    axis.set_xlabel(SPENT[panel.x] + (f" ({unit})" if unit else ""))
    axis.set_ylabel(panel.unit)
    heading(axis, panel.label, *where)
