"""Beyond the paper: an arm's seconds by phase, as stacked bars."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from analysis.exhibits.exhibit import Exhibit, main
from analysis.exhibits.style import heading, legend, panels, time_unit
from analysis.records.frames import Runs
from analysis.stats.comparison import Comparison, comparisons
from twogrpo.run_record.arms import arm_label

# In the order of the loop; other phases are drawn after these.
PHASES = {
    "generate": "#0072B2",
    "score": "#CC79A7",
    "old_logps": "#56B4E9",
    "update": "#D55E00",
    "sync": "#F0E442",
    "measure": "#999999",
    "save": "#8C564B",
    "export": "#F2A7C3",
    "validate": "#E69F00",
    "evaluate": "#009E73",
}
SPARE = "#000000"
NOTE = (
    "Wall-clock time of a run, mean over seeds. generate: sampling; score: rewards; old logps: "
    "log-probabilities under π_old; update: gradients and optimiser; sync: new weights to the "
    "sampler; measure: KL and mismatch; {after_last_step}; validate and evaluate are "
    "not counted as training."
)
# The rows of older records end before the last checkpoint is saved.
OLDER, SINCE = "save: checkpoints, but the last", "save: checkpoints; export: the trained policy"


def build(runs: Runs) -> Exhibit:
    """A panel for each setting, a bar for each arm."""
    settings = list(comparisons(runs))
    figure, axes = panels(len(settings), 1, width=6.8, height=2.6)
    rows: list[dict[str, Any]] = []
    for axis, comparison in zip(axes.flat, settings, strict=True):
        of_setting = split(comparison)
        if of_setting:  # no arm was trained: nothing to draw
            _draw(axis, comparison, pd.DataFrame(of_setting))
        rows += of_setting
    legend(figure, axes)
    return Exhibit(
        name="time_split",
        title="Where the time goes",
        frame=pd.DataFrame(rows),
        figure=figure,
        note=NOTE.format(after_last_step=SINCE if "seconds/export" in runs.runs else OLDER),
    )


def split(comparison: Comparison) -> list[dict[str, Any]]:
    """The seconds of every phase: a row an arm and phase, mean over the arm's runs."""
    rows = []
    for key in (key for key in comparison.arms if key != "base"):
        of_arm = comparison.runs[comparison.runs["arm"] == key]
        num_runs = len(of_arm)
        spent = {
            name.removeprefix("seconds/"): of_arm[name].sum() / num_runs
            for name in map(str, of_arm)
            if name.startswith("seconds/")
        }
        evaluations = comparison.timings[comparison.timings["arm"] == key]
        spent["evaluate"] = evaluations["seconds"].sum() / num_runs if len(evaluations) else 0.0
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
    names = [arm_label(key) for key in table.index]
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
