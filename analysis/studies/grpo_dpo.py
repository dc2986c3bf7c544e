"""grpo_dpo: 2-GRPO and DPO on pairs of an older and older policy."""

from __future__ import annotations

import math

import pandas as pd

from analysis.exhibits.exhibit import Exhibit, records
from analysis.exhibits.style import heading, legend, panels
from analysis.stats.intervals import Estimate
from analysis.studies.study import Study, line

ARMS = {
    "two_grpo": ("#D55E00", "s", "2-GRPO"),
    "dpo_0.05": ("#999999", "<", "DPO, β = 0.05"),
    "dpo_0.1": ("#000000", "*", "DPO, β = 0.1"),
    "dpo_0.3": ("#56B4E9", ">", "DPO, β = 0.3"),
}
SYNCS = (1, 5, 25, None)
COLUMNS = ["name", "sync", "place", "cell", "rate", "average", "low", "high"]
COLUMNS += ["grpo_minus_it", "grpo_minus_it_low", "grpo_minus_it_high"]


def build(study: Study) -> list[Exhibit]:
    """The averages over the steps between two weight syncs, at each rate."""
    rows = []
    for name in ARMS:
        for place, sync in enumerate(SYNCS):
            cell, grpo = (study.chosen(name=n, sync=sync) for n in (name, "two_grpo"))
            if cell is None or grpo is None:
                continue
            estimate, gap = study.average(cell), study.difference(grpo, cell)
            row = {"name": name, "sync": sync or math.inf, "place": place, "cell": cell}
            row |= {"rate": study.of(cell, "rate"), "average": estimate.value}
            row |= {"low": estimate.low, "high": estimate.high}
            row |= gap.columns("grpo_minus_it")
            rows.append(row)
    frame = pd.DataFrame(rows, columns=COLUMNS)
    rates = sorted(study.cells["rate"].unique())
    figure, axes = panels(1, len(rates), sharey="row")
    for axis, rate in zip(axes.flat, rates, strict=True):
        for beside, (name, (colour, marker, label)) in enumerate(ARMS.items()):
            style = {"color": colour, "marker": marker, "label": label}
            cells = {
                place + 0.06 * (beside - 1.5): cell
                for place, sync in enumerate(SYNCS)
                for cell in study.where(name=name, sync=sync, rate=rate)["cell"]
            }
            line(axis, study, list(cells.values()), list(cells), set(frame["cell"]), **style)
        axis.set_xticks(range(len(SYNCS)), [str(sync or "never") for sync in SYNCS])
        axis.set_xlabel("steps between two weight syncs")
        where = (study.counts(), "hollow: validation chooses another rate")
        heading(axis, f"On older and older pairs, rate ×{rate:g}", *where)
    axes[0, 0].set_ylabel("average Mean@32 (%)")
    legend(figure, axes)
    table = pd.DataFrame(
        {
            "arm": ARMS[row["name"]][2],
            "sync": "never" if math.isinf(row["sync"]) else f"{row['sync']:g}",
            "rate": f"×{row['rate']:g}",
            "average %": str(Estimate(row["average"], row["low"], row["high"])),
            "2-GRPO minus it": str(Estimate.of_columns(row, "grpo_minus_it")),
        }
        for row in records(frame)
    )
    return [Exhibit("grpo_dpo", "How much of GRPO is left in DPO", frame, table, figure)]
