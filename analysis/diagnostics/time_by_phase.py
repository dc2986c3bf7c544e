"""Beyond the paper: where an arm's seconds go, phase by phase, as stacked bars."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from analysis.exhibits.exhibit import Exhibit, main
from analysis.exhibits.style import heading, legend, panels, time_unit
from analysis.records.arms import arm
from analysis.records.frames import Runs
from analysis.stats.comparison import Comparison, comparisons

# In the loop's order; a phase that is not here is drawn after them.
PHASES = {
    "generate": "#0072B2",
    "score": "#CC79A7",
    "old_logps": "#56B4E9",
    "update": "#D55E00",
    "sync": "#F0E442",
    "measure": "#999999",
    "save": "#8C564B",
    "validate": "#E69F00",
    "evaluate": "#009E73",
}
SPARE = "#000000"
NOTE = (
    "Wall-clock time of a run, mean over seeds. generate: sampling; score: rewards; old logps: "
    "log-probabilities under π_old; update: gradients and optimiser; sync: new weights to the "
    "sampler; measure: KL and mismatch; save: checkpoints, but the last; validate and evaluate are "
    "not counted as training."
)


def build(runs: Runs) -> Exhibit:
    """A panel a setting, a bar an arm."""
    settings = list(comparisons(runs))
    figure, axes = panels(len(settings), 1, width=6.8, height=2.6)
    rows: list[dict[str, Any]] = []
    for axis, comparison in zip(axes.flat, settings, strict=True):
        of_setting = split(comparison)
        _draw(axis, comparison, pd.DataFrame(of_setting))
        rows += of_setting
    legend(figure, axes)
    return Exhibit(
        name="time_split",
        title="Where the time goes",
        frame=pd.DataFrame(rows),
        figure=figure,
        note=NOTE,
    )


def split(comparison: Comparison) -> list[dict[str, Any]]:
    """Seconds of every phase: a row an arm and phase, mean over its runs."""
    rows = []
    for key in (key for key in comparison.arms if key != "base"):
        steps = comparison.steps[comparison.steps["arm"] == key]
        num_runs = steps["run_id"].nunique()
        spent = {
            name.removeprefix("seconds/"): steps[name].sum() / num_runs
            for name in map(str, steps)
            if name.startswith("seconds/")
        }
        of_arm = comparison.timings[comparison.timings["arm"] == key]
        spent["evaluate"] = of_arm["seconds"].sum() / num_runs if len(of_arm) else 0.0
        for phase in [*PHASES, *sorted(set(spent) - set(PHASES))]:
            if phase in spent:
                who = {"dataset": comparison.setting[0], "model": comparison.setting[1]}
                rows.append(who | {"arm": key, "phase": phase, "seconds": spent[phase]})
    return rows


def _draw(axis: Axes, comparison: Comparison, frame: pd.DataFrame) -> None:
    table = frame.pivot(index="arm", columns="phase", values="seconds").fillna(0.0)
    table = table.loc[[key for key in reversed(comparison.arms) if key in table.index]]
    phases = list(dict.fromkeys(frame["phase"]))
    factor, unit = time_unit(table.sum(axis=1).max())
    left = pd.Series(0.0, index=table.index)
    names = [arm(key).label for key in table.index]
    for phase in phases:
        seconds = table[phase] / factor
        colour = PHASES.get(phase, SPARE)
        axis.barh(
            names, seconds, left=left, color=colour, label=phase.replace("_", " "), height=0.7
        )
        left = left + seconds
    axis.set_xlabel(f"time of a run ({unit})")
    axis.grid(axis="y", visible=False)
    heading(axis, "Where the time goes", comparison.name)


if __name__ == "__main__":
    main(build)
