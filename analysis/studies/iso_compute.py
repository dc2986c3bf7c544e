"""iso_compute: accuracy against rollouts, the share at which a small group is on par, the fits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.exhibits.claim_table import verdict
from analysis.exhibits.exhibit import Exhibit, records
from analysis.exhibits.style import SOFT, heading, legend, log_axis, look, panels
from analysis.stats.intervals import Estimate
from analysis.studies import sigmoid
from analysis.studies.study import SPENT, Study, line

GROUPS = {16: "grpo_g16", 4: "grpo_g4", 2: "two_grpo"}
LEVELS = (0.8, 0.9, 0.95)
MARGIN = 2.0
ON_PAR = {"reproduced": "yes", "not reproduced": "no", "inconclusive": "undecided"}
COLUMNS = ["group_size", "budget", "cell", "rate", "average", "low", "high"]
COLUMNS += ["difference", "difference_low", "difference_high", "on_par"]
COLUMNS += [f"{share}{column}" for column in SPENT for share in ("", "share_of_")]


def build(study: Study) -> list[Exhibit]:
    """The figure with the table of shares, and the table of the fits."""
    frame, fitted = shares(study), levels(study)
    figure, axes = panels(2, 2)
    for group_size, key in GROUPS.items():
        style = look(key) | {"label": f"G = {group_size}"}
        _draw_curve(axes[0, 0], study, group_size, style)
        rows = frame[frame["group_size"] == group_size]
        for axis, column in ((axes[0, 1], "rollouts_generated"), (axes[1, 0], "seconds_training")):
            line(axis, study, list(rows["cell"]), list(rows[column]), **style)
    full = study.chosen(group_size=16, budget=sigmoid.FULL)
    for axis in axes.flat[1:3]:
        if full:
            at = study.average(full).value
            axis.axhspan(at - MARGIN, at + MARGIN, color="#d3e1ef", zorder=0)
        axis.set_ylabel("average Mean@32 (%)")
    for axis, what in ((axes[0, 0], "rollouts"), (axes[0, 1], "rollouts"), (axes[1, 0], "seconds")):
        log_axis(axis, what)
    seeds = study.comparison.count_seeds(study.cells["cell"])
    where = f"{seeds}; rate chosen at the full budget"
    heading(axes[0, 0], "Validation, with sigmoids", where)
    where = f"{study.counts()}; rate chosen at each budget"
    heading(axes[0, 1], "Benchmarks; band: ±2 points of 16-GRPO", where)
    heading(axes[1, 0], "The same against training time", "on this machine")
    _draw_missing(axes[1, 1], study, frame)
    legend(figure, axes[:1])
    title = "At what share of 16-GRPO's rollouts is 2-GRPO on par?"
    note = (
        "On par: a 90 % interval of the difference inside ±2 points (TOST at 5 %); no: outside; "
        "undecided: astride."
    )
    first = Exhibit("iso_compute", title, frame, _table(frame), figure, note)
    note = (
        "NaN: not every seed's fit reaches the level in its run. Accuracies are of validation; "
        "the level itself, of 16-GRPO's fits, is taken as known."
    )
    name = "iso_compute_fits"
    return [first, Exhibit(name, "Rollouts to a share of 16-GRPO's gain", fitted, note=note)]


def shares(study: Study) -> pd.DataFrame:
    """The chosen cell of each group size and budget: what it spent, and whether it is on par."""
    full = study.chosen(group_size=16, budget=sigmoid.FULL)
    rows = []
    for (group_size, budget), _ in study.cells.groupby(["group_size", "budget"]):
        cell = study.chosen(group_size=group_size, budget=budget)
        if cell is None or full is None:
            continue
        estimate, to_full = study.average(cell), study.difference(cell, full, level=0.90)
        row = {"group_size": group_size, "budget": budget, "cell": cell}
        row |= {"rate": study.of(cell, "rate"), "average": estimate.value}
        row |= {"low": estimate.low, "high": estimate.high} | to_full.columns("difference")
        found = verdict(to_full.low, to_full.high, -MARGIN, MARGIN)
        if min(study.of(one, "seeds") for one in (cell, full)) == 1:
            found = "inconclusive"  # the spread over seeds is unknown
        row["on_par"] = "–" if cell == full else ON_PAR[found]
        for column in SPENT:
            row[column] = study.of(cell, column)
            row[f"share_of_{column}"] = study.of(cell, column) / study.of(full, column)
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)


def levels(study: Study) -> pd.DataFrame:
    """Each group size at the full budget: its sigmoid and the rollouts to each of `LEVELS` of
    16-GRPO's gain, with intervals over seeds."""
    rows = []
    is_whole = all(study.chosen(group_size=g, budget=sigmoid.FULL) for g in (2, 16))
    for group_size in GROUPS if is_whole else ():  # the levels are of 16-GRPO, the start of 2-GRPO
        cell = study.chosen(group_size=group_size, budget=sigmoid.FULL)
        if cell is None:
            continue
        found = sigmoid.fits(study, cell)
        values = {
            "asymptote": {seed: 100 * fitted.asymptote for seed, fitted in found.items()},
            "midpoint": {seed: fitted.midpoint for seed, fitted in found.items()},
            "steepness": {seed: fitted.steepness for seed, fitted in found.items()},
        }
        values |= {
            f"rollouts to {share:.0%}": sigmoid.rollouts_to(study, cell, share) for share in LEVELS
        }
        for name, of_seeds in values.items():
            estimate = sigmoid.over_seeds(study, cell, of_seeds).interval()
            row = (group_size, cell, name, estimate.value, estimate.low, estimate.high)
            rows.append((*row, sum(map(math.isfinite, of_seeds.values()))))
    columns = ["group_size", "cell", "number", "value", "low", "high", "seeds_that_reach_it"]
    return pd.DataFrame(rows, columns=columns)


def _draw_curve(axis: Axes, study: Study, group_size: int, style: dict[str, Any]) -> None:
    cell = study.chosen(group_size=group_size, budget=sigmoid.FULL)
    if cell is None or study.where(group_size=2).empty:  # 2-GRPO's first step is the start
        return
    curves = pd.concat(sigmoid.curves(study, cell).values())
    mean = curves.groupby("rollouts")["value"].mean()
    axis.plot(mean.index, 100 * mean, **(style | {"linestyle": "none", "markersize": 2.5}))
    grid = np.geomspace(mean.index.min(), sigmoid.FULL, 100)
    found = [fitted.at(grid) for fitted in sigmoid.fits(study, cell).values()]
    axis.plot(grid, 100 * np.mean(found, axis=0), color=str(style["color"]))
    axis.set_ylabel("validation (%)")


def _draw_missing(axis: Axes, study: Study, frame: pd.DataFrame) -> None:
    """What 2-GRPO lacks to 16-GRPO at all of its rollouts, by benchmark."""
    full = study.chosen(group_size=16, budget=sigmoid.FULL)
    names = study.comparison.benchmarks
    if full is None or 2 not in set(frame["group_size"]):
        return
    for shade, row in enumerate(records(frame[frame["group_size"] == 2])):
        ours, theirs = (study.comparison.by_benchmark(str(key)) for key in (row["cell"], full))
        found = [(ours[name] - theirs[name]).interval() for name in names]
        values = [estimate.value for estimate in found]
        label = f"{100 * row['share_of_rollouts_generated']:.3g} % of the rollouts"
        x = np.arange(len(names)) + 0.2 * (shade - 1.5)
        axis.bar(x, values, 0.2, color="#D55E00", alpha=0.25 + 0.25 * shade, label=label)
        axis.vlines(x, [e.low for e in found], [e.high for e in found], color=SOFT, linewidth=0.8)
    axis.axhline(0, color="#999999", linewidth=0.8)
    labels = [name.replace("_", " ") for name in names]
    axis.set_xticks(range(len(names)), labels, rotation=20, ha="right")
    axis.margins(y=0.2)
    axis.legend(fontsize=5.5, ncols=2, loc="upper right")
    axis.set_ylabel("points against 16-GRPO")
    heading(
        axis, "What 2-GRPO lacks, by benchmark", "to 16-GRPO at all of its rollouts; lines: 95 %"
    )


def _table(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "G": row["group_size"],
            "rate": f"×{row['rate']:g}",
            "rollouts %": f"{100 * row['share_of_rollouts_generated']:.4g}",
            "tokens %": f"{100 * row['share_of_tokens_generated']:.3g}",
            "time %": f"{100 * row['share_of_seconds_training']:.3g}",
            "average %": str(Estimate(row["average"], row["low"], row["high"])),
            "Δ points (90 %)": "–"
            if row["on_par"] == "–"
            else str(Estimate.of_columns(row, "difference")),
            "on par": row["on_par"],
        }
        for row in records(frame)
    )
