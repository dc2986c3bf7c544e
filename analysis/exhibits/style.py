"""The style of the figures: one column wide, one look for each arm, units on every axis."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from twogrpo.run_record.arms import arm_label

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


# An arm's colour, marker and dashes: the palette of Okabe and Ito, told apart with every common
# colour blindness, and by marker in grey.
LOOKS = {
    "base": ("#666666", "X", "-"),
    "grpo_g16": ("#0072B2", "o", "-"),
    "two_grpo": ("#D55E00", "s", "-"),
    "two_grpo_rs": ("#009E73", "^", "-"),
    "grpo_g8": ("#56B4E9", "v", "--"),
    "grpo_g4": ("#E69F00", "D", "--"),
    "grpo_g2": ("#CC79A7", "P", "--"),
    "dpo": ("#000000", "*", ":"),
}
SPARE = (("#7F3C8D", "<"), ("#8B6914", ">"), ("#4B4B4B", "h"), ("#A0522D", "d"), ("#B03060", "p"))

# A verdict's colour and marker: two of that palette, darkened until text in them is read.
VERDICTS = {
    "reproduced": ("#00704f", "o"),
    "not reproduced": ("#b04a00", "X"),
    # Of our own predictions, which nobody published.
    "borne out": ("#00704f", "o"),
    "not borne out": ("#b04a00", "X"),
    "inconclusive": ("#555555", "s"),
}
SOFT = "#555555"  # of secondary text


def panels(num_rows: int, num_columns: int, **size: Any) -> tuple[Figure, np.ndarray]:
    """A grid of axes in the house style; `width` and `height` of a panel in inches."""
    width, height = size.pop("width", COLUMN_INCHES), size.pop("height", 2.4)
    figure = Figure(figsize=(width * num_columns, height * num_rows), layout="constrained")
    return figure, figure.subplots(num_rows, num_columns, squeeze=False, **size)


def heading(axis: Axes, what: str, *where: str) -> None:
    """Sets the title in bold, and smaller below it the model, the data and the counts."""
    axis.set_title(what, pad=4 + 10 * len(where))
    axis.annotate(
        "\n".join(where),
        (0, 1),
        (0, 3),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=7,
        color=SOFT,
        va="bottom",
    )


def look(key: str) -> dict[str, Any]:
    """An arm's colour, marker, line and name, as keywords of `plot` and `errorbar`.

    An arm outside the paper gets a spare colour that depends on its name alone.
    """
    spare = (*SPARE[sum(map(ord, key)) % len(SPARE)], "-.")
    colour, marker, dashes = LOOKS.get(key, spare)
    return {"color": colour, "marker": marker, "linestyle": dashes, "label": arm_label(key)}


def verdict_look(verdict: str) -> tuple[str, str]:
    """A verdict's colour and marker; those of no verdict look like "inconclusive"."""
    return VERDICTS.get(verdict, VERDICTS["inconclusive"])


def band(axis: Axes, key: str, x: Any, middle: Any, low: Any, high: Any) -> None:
    """Draws a curve of an arm with its interval; few markers, so that a long curve stays a line."""
    every = max(1, len(middle) // 8)
    axis.plot(x, middle, markevery=every, **look(key))
    axis.fill_between(x, low, high, color=look(key)["color"], alpha=0.15, linewidth=0)


def legend(figure: Figure, axes: np.ndarray) -> None:
    """Draws one legend below all panels, with each name once."""
    found: dict[str, Any] = {}
    for axis in axes.flat:
        handles, labels = axis.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    if not found:
        return
    columns = min(len(found), max(2, round(figure.get_figwidth() / 1.5)))
    figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=columns)


def log_axis(axis: Axes, label: str, *, base: int = 10) -> None:
    """Makes the x axis logarithmic with plain numbers at its ticks."""
    axis.set_xscale("log", base=base)
    subs = (1, 2, 5) if base == 10 else (1,)
    axis.xaxis.set_major_locator(LogLocator(base, subs=subs))
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel(label)


def time_unit(longest_seconds: float) -> tuple[float, str]:
    """The readable unit for times up to the longest: its seconds and its name."""
    if longest_seconds < 180:
        return 1.0, "s"
    return (60.0, "min") if longest_seconds < 3 * 3600 else (3600.0, "h")
