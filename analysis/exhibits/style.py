"""How figures look: one column wide, an arm always the same, units on every axis."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.records.arms import arm

COLUMN_INCHES = 3.4  # of a two-column page; fonts below are readable at that width
RC: dict[str, Any] = {
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.4,
    "lines.markersize": 5,
    "savefig.dpi": 200,
    "figure.constrained_layout.use": True,
    "text.parse_math": False,  # a $ in a name is a $
    "pdf.fonttype": 42,  # text stays text
    "svg.hashsalt": "twogrpo",
}
matplotlib.rcParams.update(RC)  # figures are built without pyplot: no screen, no global state


def panels(num_rows: int, num_columns: int, **size: Any) -> tuple[Figure, np.ndarray]:
    """A grid of axes in the house style; `width` and `height` of a panel in inches."""
    width, height = size.pop("width", COLUMN_INCHES), size.pop("height", 2.4)
    figure = Figure(figsize=(width * num_columns, height * num_rows), layout="constrained")
    return figure, figure.subplots(num_rows, num_columns, squeeze=False, **size)


def heading(axis: Axes, what: str, *where: str) -> None:
    """What is seen, in bold; below it, smaller, of which model and data and how many."""
    axis.set_title(what, pad=4 + 10 * len(where))
    axis.annotate(
        "\n".join(where),
        (0, 1),
        (0, 3),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=7,
        color="#555555",
        va="bottom",
    )


def look(key: str) -> dict[str, Any]:
    """An arm's colour, marker, line and name, as keywords of `plot` and `errorbar`."""
    it = arm(key)
    return {"color": it.colour, "marker": it.marker, "linestyle": it.dashes, "label": it.label}


def band(axis: Axes, key: str, x: Any, middle: Any, low: Any, high: Any) -> None:
    """A curve of an arm with its interval; few markers, so that a long curve stays a line."""
    every = max(1, len(middle) // 8)
    axis.plot(x, middle, markevery=every, **look(key))
    axis.fill_between(x, low, high, color=arm(key).colour, alpha=0.15, linewidth=0)


def legend(figure: Figure, axes: np.ndarray) -> None:
    """One legend below all panels, each name once."""
    found: dict[str, Any] = {}
    for axis in axes.flat:
        handles, labels = axis.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    columns = min(len(found), max(2, round(figure.get_figwidth() / 1.5)))
    figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=columns)


def time_unit(longest_seconds: float) -> tuple[float, str]:
    """Seconds in the unit that reads well, and its name."""
    if longest_seconds < 180:
        return 1.0, "s"
    return (60.0, "min") if longest_seconds < 3 * 3600 else (3600.0, "h")
