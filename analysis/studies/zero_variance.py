"""zero_variance: six ways with pairs that carry no signal, at equal rollouts and at equal time."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.ticker import EngFormatter

from analysis.exhibits.exhibit import Exhibit, records
from analysis.exhibits.style import heading, legend, panels
from analysis.stats.intervals import Estimate
from analysis.studies.study import Study, line

# The palette of Okabe and Ito.
WAYS = {
    "kept": ("#000000", "o"),
    "out_of_denominator": ("#56B4E9", "v"),
    "new_prompt": ("#009E73", "^"),
    "same_prompt": ("#E69F00", "D"),
    "skip_solved": ("#CC79A7", "P"),
    "replay": ("#D55E00", "s"),
}


def build(study: Study) -> list[Exhibit]:
    """The averages against rollouts and time, rates chosen; the table has both comparisons."""
    frame = ways(study)
    figure, axes = panels(1, 2)
    for name, (colour, marker) in WAYS.items():
        rows = frame[frame["name"] == name]
        style = {"color": colour, "marker": marker, "label": name.replace("_", " ")}
        columns = ("rollouts_generated", "seconds_training")
        for axis, column in zip(axes.flat, columns, strict=True):
            line(axis, study, list(rows["cell"]), list(rows[column]), **style)
    for axis, what in zip(axes.flat, ("rollouts, discarded ones too", "seconds"), strict=True):
        axis.set(xlabel=what, ylabel="average Mean@32 (%)")
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    heading(axes[0, 0], "Against rollouts", study.counts())
    heading(axes[0, 1], "Against training time", "rates chosen on validation")
    legend(figure, axes)
    note = (
        "At equal time: the average, interpolated in the logarithm of the seconds between the two "
        "budgets, at the seconds of 'kept'; – where these are outside."
    )
    title = "What to do with pairs that carry no signal"
    return [Exhibit("zero_variance", title, frame, _table(frame), figure, note)]


def ways(study: Study) -> pd.DataFrame:
    """The chosen cell of each way and budget, against `kept` at equal rollouts and equal time."""
    rows = []
    for name in WAYS:
        budgets = sorted(study.where(name=name)["budget"].unique())
        cells = {b: str(study.chosen(name=name, budget=b)) for b in budgets}
        for budget, cell in cells.items():
            row = {"name": name, "budget": budget, "cell": cell, "rate": study.of(cell, "rate")}
            row |= {c: study.of(cell, c) for c in ("rollouts_generated", "seconds_training")}
            estimate = study.average(cell)
            row |= {"average": estimate.value, "low": estimate.low, "high": estimate.high}
            kept = study.chosen(name="kept", budget=budget)
            if kept is not None:
                row |= study.difference(cell, kept).columns("to_kept")
                seconds = study.of(kept, "seconds_training")
                row["to_kept_at_equal_time"] = (
                    _at(study, list(cells.values()), seconds) - study.average(kept).value
                )
            rows.append(row)
    return pd.DataFrame(rows)


def _at(study: Study, cells: list[str], seconds: float) -> float:
    """The average at these seconds; NaN outside the cells' own."""
    points = sorted(
        (study.of(cell, "seconds_training"), study.average(cell).value) for cell in cells
    )
    x, y = (np.array(values) for values in zip(*points, strict=True))
    return float(np.interp(np.log(seconds), np.log(x), y, left=np.nan, right=np.nan))


def _table(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "way": row["name"],
            "rollouts at most": f"{row['budget']:,}",
            "rate": f"×{row['rate']:g}",
            "average %": str(Estimate(row["average"], row["low"], row["high"])),
            "Δ to kept": str(Estimate.of_columns(row, "to_kept")) if "to_kept" in row else "–",
            "at equal time": "–"
            if np.isnan(row.get("to_kept_at_equal_time", np.nan))
            else f"{row['to_kept_at_equal_time']:.1f}",
            "time s": f"{row['seconds_training']:.1f}",
        }
        for row in records(frame)
    )
