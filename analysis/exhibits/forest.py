"""The forest plot: measured intervals beside the bounds that they are judged by, one row each."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.exhibits.style import SOFT, VERDICTS, panels, verdict_look

WIDTH_INCHES, ROW_INCHES = 9.0, 0.42
# Where the columns begin, as fractions of the width; the plot lies between its two.
PLOT, NUMBERS, VERDICT = (0.435, 0.69), 0.71, 0.87
CHARS_PER_LINE = 70
BAND = "#d3e1ef"
# A ring around the measured marker where the two agree.
PUBLISHED: dict[str, Any] = {"marker": "D", "markersize": 7.5, "color": "#1c1c1e", "mfc": "white"}


@dataclass(frozen=True)
class ForestRow:
    """A row: an interval, the bounds [low, high] it is judged by, the published value, a verdict.

    A NaN is not drawn; an infinite bound reaches to the edge.
    """

    name: str
    says: str
    published: float
    measured: float
    ci_low: float
    ci_high: float
    low: float
    high: float
    bounds: str
    verdict: str


def forest(rows: Sequence[ForestRow]) -> Figure:
    """The plot; every row has a scale of its own, since the rows have different units."""
    figure, axes = panels(1, 1, width=WIDTH_INCHES, height=ROW_INCHES * (len(rows) + 2))
    axis = axes[0, 0]
    axis.set(xlim=(0, 1), ylim=(len(rows) - 0.5, -1.1))
    axis.set_axis_off()
    heads = ("claim", "each row on its own scale", "measured [interval]", "verdict, bounds")
    for x, head in zip((0, PLOT[0], NUMBERS, VERDICT), heads, strict=True):
        axis.text(x, -0.8, head, fontsize=8, fontweight="bold", va="center")
    for y, row in enumerate(rows):
        if y % 2 == 0:
            axis.axhspan(y - 0.5, y + 0.5, color="#f5f5f3", zorder=0)
        _draw(axis, y, row)
        _write(axis, y, row)
    _legend(figure, rows)
    return figure


def _draw(axis: Axes, y: int, row: ForestRow) -> None:
    """Draws the row from the least to the greatest of its numbers, with a margin."""
    values = (row.published, row.measured, row.ci_low, row.ci_high, row.low, row.high)
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    least, most = min(finite), max(finite)
    spread = most - least if most - least > 1e-6 else 0.0  # "exactly" has a rounding's width
    margin = 0.12 * spread or abs(most) or 1.0

    def at(value: float) -> float:
        share = (value - least + margin) / (spread + 2 * margin)
        return PLOT[0] + (PLOT[1] - PLOT[0]) * min(max(share, 0.0), 1.0)

    axis.fill_betweenx([y - 0.36, y + 0.36], at(row.low), at(row.high), color=BAND, linewidth=0)
    for edge in filter(math.isfinite, (row.low, row.high)):
        axis.plot([at(edge)] * 2, [y - 0.36, y + 0.36], color="#7d93ab", linewidth=1)
    if math.isfinite(row.published):
        axis.plot(at(row.published), y, zorder=3, **PUBLISHED)
    colour, marker = verdict_look(row.verdict)
    if math.isfinite(row.ci_low) and math.isfinite(row.ci_high):
        ends = [at(row.ci_low), at(row.ci_high)]
        axis.plot(ends, [y, y], color=colour, linewidth=2, solid_capstyle="butt", zorder=4)
    if math.isfinite(row.measured):
        axis.plot(at(row.measured), y, marker=marker, markersize=5.5, color=colour, zorder=5)


def _write(axis: Axes, y: int, row: ForestRow) -> None:
    small: dict[str, Any] = {"fontsize": 7, "color": SOFT, "linespacing": 1.15}
    says = textwrap.wrap(row.says, CHARS_PER_LINE)
    top = y - 0.12 - 0.13 * len(says)
    axis.text(0, top, row.name, fontsize=7.5, fontweight="bold", va="top")
    axis.text(0, top + 0.27, "\n".join(says), va="top", **small)
    measured = "–"
    if math.isfinite(row.measured):
        measured = _number(row.measured)
    if math.isfinite(row.ci_low):
        measured += f" [{_number(row.ci_low)}, {_number(row.ci_high)}]"
    colour, _ = verdict_look(row.verdict)
    axis.text(NUMBERS, y - 0.18, measured, fontsize=7.5, va="center")
    if math.isfinite(row.published):
        axis.text(NUMBERS, y + 0.2, f"paper: {_number(row.published)}", va="center", **small)
    axis.text(VERDICT, y - 0.18, row.verdict, color=colour, fontweight="bold", va="center")
    axis.text(VERDICT, y + 0.2, row.bounds, va="center", **small)


def _number(value: float) -> str:
    """Three digits, as in a paper.

    >>> _number(0.94), _number(-100.0), _number(1234.5), _number(float("nan"))
    ('0.940', '−100', '1,234', '–')
    """
    if not math.isfinite(value):
        return "–"
    text = f"{value:#.3g}".rstrip(".") if abs(value) < 999.5 else f"{value:,.0f}"
    return text.replace("-", "−")


def _legend(figure: Figure, rows: Sequence[ForestRow]) -> None:
    handles: list[Patch | Line2D] = [Patch(color=BAND, label="bounds that bear the claim out")]
    if any(math.isfinite(row.published) for row in rows):
        handles.append(Line2D([], [], linestyle="none", label="published", **PUBLISHED))
    for verdict in sorted({row.verdict for row in rows} & set(VERDICTS), key=list(VERDICTS).index):
        colour, marker = verdict_look(verdict)
        handles.append(Line2D([], [], color=colour, marker=marker, linewidth=2, label=verdict))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
