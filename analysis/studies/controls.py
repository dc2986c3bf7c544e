"""controls: accuracy against the share of flipped rewards; at 50 % the reward is random."""

from __future__ import annotations

import pandas as pd

from analysis.exhibits.exhibit import Exhibit
from analysis.exhibits.style import heading, legend, look, panels
from analysis.stats.intervals import Estimate
from analysis.studies.study import Study, draw, line

ARMS = {
    (16, 1): ("grpo_g16", "16-GRPO"),
    (2, 2): ("grpo_g2", "2-GRPO ×2"),
    (2, 8): ("two_grpo", "2-GRPO ×8"),
}


def build(study: Study) -> list[Exhibit]:
    """The averages over the noise, and what it costs each arm."""
    figure, axes = panels(1, 2)
    rows = []
    for (group_size, rate), (key, label) in ARMS.items():
        cells = study.where(group_size=group_size, rate=rate).sort_values("noise")
        if cells.empty:
            continue
        style = look(key) | {"label": label}
        line(axes[0, 0], study, list(cells["cell"]), list(100 * cells["noise"]), **style)
        clean = study.chosen(group_size=group_size, rate=rate, noise=0)
        if clean is None:  # there is nothing to compare with
            continue
        for cell, noise in zip(cells["cell"], cells["noise"], strict=True):
            estimates = {"to_clean": study.difference(cell, clean)}
            if "base" in study.comparison.evaluated:
                estimates["to_start"] = study.difference(cell, "base")
            row = {"arm": label, "noise": noise, "cell": cell}
            for name, estimate in estimates.items():
                row |= estimate.columns(name)
            rows.append(row)
        costs = [study.difference(cell, clean) for cell in cells["cell"]]
        draw(axes[0, 1], costs, list(100 * cells["noise"]), **style)
    if "base" in study.comparison.evaluated:
        axes[0, 0].axhline(study.average("base").value, **look("base") | {"marker": ""})
    for axis, unit in zip(axes.flat, ("average Mean@32 (%)", "points"), strict=True):
        axis.set(xlabel="rewards flipped (%)", ylabel=unit)
    heading(axes[0, 0], "Label noise; 50 % is a random reward", study.counts())
    heading(axes[0, 1], "What the noise costs", "against the same arm without noise")
    legend(figure, axes)
    frame = pd.DataFrame(rows)
    return [Exhibit("controls", "Random rewards and label noise", frame, _table(frame), figure)]


def _table(frame: pd.DataFrame) -> pd.DataFrame:
    names = {"to_clean": "Δ to no noise", "to_start": "Δ to the initial policy"}
    return pd.DataFrame(
        {"arm": row["arm"], "flipped %": f"{100 * row['noise']:g}"}
        | {head: str(Estimate.of_columns(row, name)) for name, head in names.items() if name in row}
        for row in frame.to_dict("records")
    )
