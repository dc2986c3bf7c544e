"""learning_rate: each group size over the rate, its envelope, and 2-GRPO's gap split into parts."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.exhibits.exhibit import Exhibit
from analysis.exhibits.style import heading, legend, log_axis, look, panels
from analysis.stats.intervals import Estimate
from analysis.studies.study import Study, line

GROUPS = {16: "grpo_g16", 8: "grpo_g8", 4: "grpo_g4", 2: "two_grpo"}


def build(study: Study) -> list[Exhibit]:
    """The rates, each group size at its best and the parts as one figure; the parts as a table."""
    figure, axes = panels(2, 2)
    for axis, is_large in zip(axes.flat, (False, True), strict=False):
        for group_size, key in GROUPS.items():
            batch = 16 // group_size if is_large else 1
            cells = study.where(group_size=group_size, batch=batch).sort_values("rate")
            if len(cells):
                style = look(key) | {"label": f"G = {group_size}"}
                line(axis, study, list(cells["cell"]), list(cells["rate"]), **style)
        log_axis(axis, "learning rate over 16-GRPO's", base=2)
        axis.set_ylabel("average Mean@32 (%)")
        what = "rollouts" if is_large else "prompts"
        heading(axis, f"Mini-batches equal in {what}", study.counts())
    axes[0, 1].sharey(axes[0, 0])
    chosen = [(g, study.chosen(group_size=g)) for g in sorted(GROUPS)]
    found = [(g, cell) for g, cell in chosen if cell is not None]
    line(axes[1, 0], study, [cell for _, cell in found], [g for g, _ in found], color="#333333")
    for group_size, cell in found:
        text = f"rate ×{study.of(cell, 'rate'):g}\nbatch ×{study.of(cell, 'batch')}"
        at = (group_size, study.average(cell).value)
        axes[1, 0].annotate(text, at, (3, -20), textcoords="offset points", fontsize=6.5)
    axes[1, 0].set_xlim(1.7, 26)  # room for the last label
    log_axis(axes[1, 0], "group size", base=2)
    axes[1, 0].set_ylabel("average Mean@32 (%)")
    heading(axes[1, 0], "Each group size at its best", "rate and batch chosen on validation")
    frame = parts(study)
    _draw_parts(axes[1, 1], frame)
    legend(figure, axes[:1])
    note = (
        "rate: chosen rate against ×16/G, large batch; batch: the chosen batch against the large "
        "one; group: G at its chosen rate and batch against 16 at its own; 16's rate: its chosen "
        "rate against ×1, not drawn where the two are the same. The four sum to the gap. Batch ×1 "
        "has 16-GRPO's prompts a mini-batch. Signs are those of a loss: docs/studies.md has rate "
        "and batch the other way round."
    )
    title = "Group, batch or learning rate?"
    return [Exhibit("learning_rate", title, frame, _table(frame), figure, note)]


def parts(study: Study) -> pd.DataFrame:
    """For each G, what the gap to 16-GRPO ×1 at the linearly scaled rate is made of, in points."""
    rows = []
    sixteen, scaled_16 = study.chosen(group_size=16), study.chosen(group_size=16, rate=1)
    for group_size in (2, 4, 8):
        large = {"group_size": group_size, "batch": 16 // group_size}
        scaled = study.chosen(**large, rate=16 // group_size)
        at_rate, best = study.chosen(**large), study.chosen(group_size=group_size)
        if None in (scaled, at_rate, best, sixteen, scaled_16):
            continue
        assert scaled and at_rate and best and sixteen and scaled_16
        # Signs of a loss: each part is what 2-GRPO lacks for want of it.
        for part, cells in {
            "rate": (scaled, at_rate),
            "batch": (at_rate, best),
            "group": (best, sixteen),
            "16's rate": (sixteen, scaled_16),
            "gap": (scaled, scaled_16),
        }.items():
            estimate = study.difference(*cells)
            values = (estimate.value, estimate.low, estimate.high)
            rows.append((group_size, part, *cells, *values))
    columns = ["group_size", "part", "cell", "against", "points", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def _draw_parts(axis: Axes, frame: pd.DataFrame) -> None:
    if (frame.loc[frame["part"] == "16's rate", "points"] == 0).all():
        frame = frame[frame["part"] != "16's rate"]
    names = list(dict.fromkeys(frame["part"]))
    for offset, (group_size, rows) in enumerate(frame.groupby("group_size")):
        x = np.arange(len(rows)) + 0.2 * (offset - 1)
        ends = [rows["points"] - rows["low"], rows["high"] - rows["points"]]
        style = look(GROUPS[int(str(group_size))]) | {"linestyle": "none"}
        axis.errorbar(x, rows["points"], yerr=np.maximum(ends, 0), capsize=2, **style)
    axis.axhline(0, color="#999999", linewidth=0.8)
    axis.set_xticks(range(len(names)), names)
    axis.set_ylabel("points")
    heading(axis, "What the gap is made of", "2-, 4-, 8-GRPO at ×16/G against 16-GRPO at ×1")


def _table(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "G": row.group_size,
            "part": row.part,
            "points": str(Estimate(row.points, row.low, row.high)),
            "from": row.cell,
            "to": row.against,
        }
        for row in frame.itertuples()
    )
