"""pair_of_16: a pair cut from sixteen rollouts between 2-GRPO and 16-GRPO."""

from __future__ import annotations

import pandas as pd

from analysis.exhibits.exhibit import Exhibit
from analysis.exhibits.style import heading, look, panels
from analysis.stats.intervals import Estimate
from analysis.studies.study import Study, line

ARMS = {
    "two_grpo": ("two_grpo", "2-GRPO"),
    "pair_of_16": ("two_grpo_rs", "pair of 16"),
    "grpo": ("grpo_g16", "16-GRPO"),
}


def build(study: Study) -> list[Exhibit]:
    """All settings of the three arms, and the differences of the chosen ones."""
    figure, axes = panels(1, 1, width=5.0)
    axis, labels = axes[0, 0], list[str]()
    for name, (key, label) in ARMS.items():
        cells = study.where(name=name).sort_values(["batch", "rate"])
        x = range(len(labels), len(labels) + len(cells))
        if len(cells):
            style = look(key) | {"label": label, "linestyle": "none"}
            line(axis, study, list(cells["cell"]), list(x), **style)
        labels += [
            f"{label}\nbatch {batch}, ×{rate:g}"
            for batch, rate in zip(cells["batch"], cells["rate"], strict=True)
        ]
    axis.set_xticks(range(len(labels)), labels, fontsize=5.5)
    axis.set_ylabel("average Mean@32 (%)")
    where = f"{study.counts()}; ten epochs of the same prompts"
    heading(axis, "A pair cut from sixteen", where)
    pairs = {"seen": ("pair_of_16", "two_grpo"), "trained on": ("grpo", "pair_of_16")}
    rows = []
    for part, names in pairs.items():
        one, other = (study.chosen(name=name) for name in names)
        if one and other:
            estimate = study.difference(one, other)
            rows.append((part, one, other, estimate.value, estimate.low, estimate.high))
    columns = ["part", "cell", "against", "points", "low", "high"]
    frame = pd.DataFrame(rows, columns=columns)
    table = pd.DataFrame(
        {"part": part, "points": str(Estimate(*values)), "from": one, "to": other}
        for part, one, other, *values in rows
    )
    title = "Fewer samples seen, or fewer trained on?"
    return [Exhibit("pair_of_16", title, frame, table, figure, "Settings chosen on validation.")]
