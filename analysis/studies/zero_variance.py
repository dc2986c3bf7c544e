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
    """The averages against rollouts at each rate, and against time; the table compares them."""
    frame = ways(study)
    rates = sorted(study.cells["rate"].unique())
    figure, axes = panels(1, len(rates) + 1, width=3.0, sharey="row")
    for name, (colour, marker) in WAYS.items():
        style = {"color": colour, "marker": marker, "label": name.replace("_", " ")}
        for axis, rate in zip(axes.flat, rates, strict=False):
            of_rate = study.where(name=name, rate=rate).sort_values("budget")
            spent = list(of_rate["rollouts_generated"])
            line(axis, study, list(of_rate["cell"]), spent, set(frame["cell"]), **style)
        rows = frame[frame["name"] == name]
        seconds = list(rows["seconds_training"])
        line(axes[0, -1], study, list(rows["cell"]), seconds, **(style | {"linestyle": "none"}))
    for axis, rate in zip(axes.flat, rates, strict=False):
        axis.set_xlabel("rollouts, discarded ones too")
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        heading(axis, f"Rate ×{rate:g}", study.counts(), "hollow: validation chooses another rate")
    axes[0, 0].set_ylabel("average Mean@32 (%)")
    axes[0, -1].set_xlabel("training time (s)")
    heading(axes[0, -1], "Against training time", "the chosen cells alone", "rates differ")
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
