"""Figure 5: training reward and validation accuracy against time, for every group size."""

from __future__ import annotations

import pandas as pd

from analysis.arms import ABLATION
from analysis.comparison import Comparison, comparisons
from analysis.curves import WINDOW, curve
from analysis.exhibit import Exhibit, main
from analysis.runs import Runs
from analysis.style import band, heading, legend, panels, time_unit

METRICS = {
    "reward/mean": "Training reward",
    "validation/mean": "Validation accuracy",
}


def build(runs: Runs) -> Exhibit:
    """Left the training reward, right the validation split; moving average over four points."""
    return curves_exhibit(runs, "figure_5", "Figure 5: learning curves by group size", ABLATION)


def curves_exhibit(runs: Runs, name: str, title: str, arms: tuple[str, ...]) -> Exhibit:
    """The two curves of some arms, a row of panels a setting."""
    settings = [c for c in comparisons(runs) if set(arms) & set(c.arms)]
    figure, axes = panels(max(len(settings), 1), len(METRICS))
    frames = []
    for row_of_axes, comparison in zip(axes, settings, strict=False):
        here = [key for key in arms if key in comparison.arms]
        data = _curves(comparison, here)
        factor, unit = time_unit(data["x"].max())
        for axis, (metric, spoken) in zip(row_of_axes, METRICS.items(), strict=True):
            for key, line in data[data["metric"] == metric].groupby("arm", sort=False):
                band(axis, str(key), line["x"] / factor, line["value"], line["low"], line["high"])
            heading(axis, spoken, comparison.name, f"n = {_seeds(comparison, here)} seeds")
            axis.set_xlabel(f"training time ({unit})")
            axis.set_ylabel(f"{spoken.lower()} (share of 1)")
        frames.append(data)
    legend(figure, axes)
    note = f"Moving average over {WINDOW} logged values; bands: 95 % bootstrap over seeds."
    frame = pd.concat(frames) if frames else pd.DataFrame()
    return Exhibit(name=name, title=title, frame=frame, figure=figure, note=note)


def _curves(comparison: Comparison, arms: list[str]) -> pd.DataFrame:
    frames = []
    for key in arms:
        for metric in METRICS:
            line = curve(comparison, key, metric, "spent/seconds", WINDOW)
            who = {"dataset": comparison.setting[0], "model": comparison.setting[1]}
            frames.append(line.assign(**who, arm=key, metric=metric))
    return pd.concat(frames)


def _seeds(comparison: Comparison, arms: list[str]) -> str:
    return "–".join(str(n) for n in sorted({len(comparison.seeds(key)) for key in arms}))


if __name__ == "__main__":
    main(build)
