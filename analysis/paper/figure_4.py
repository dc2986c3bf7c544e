"""Figure 4: accuracy against the group size, at equal prompts a mini-batch and learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.transforms import offset_copy

from analysis.exhibits.exhibit import Exhibit, main
from analysis.exhibits.style import heading, look, panels
from analysis.records import published
from analysis.records.frames import Runs
from analysis.stats.comparison import Comparison, comparisons
from analysis.stats.intervals import OVER_BOTH
from twogrpo.run_record.arms import ABLATION

LINE = "#0072B2"
GREY = "#9a9a9a"
LEADER = {"arrowstyle": "-", "relpos": (0, 0.5), "color": "#bbbbbb", "linewidth": 0.6}


def build(runs: Runs) -> Exhibit:
    """Two panels for each setting, Mean@n and Pass@n; the bold line is the benchmarks' average."""
    settings = [c for c in comparisons(runs) if set(ABLATION) & set(c.evaluated)]
    figure, axes = panels(max(len(settings), 1), 2, width=3.0)
    rows: list[dict[str, Any]] = []
    for pair, comparison in zip(axes, settings, strict=False):
        for axis, (metric, k) in zip(
            pair, (("Mean", None), ("Pass", comparison.num_samples)), strict=True
        ):
            of_panel = _rows(comparison, metric, k)
            _draw(axis, comparison, pd.DataFrame(of_panel), metric)
            rows += of_panel
    return Exhibit(
        name="figure_4",
        title="Figure 4: accuracy against group size",
        frame=pd.DataFrame(rows),
        figure=figure,
        note=f"Bars: {OVER_BOTH}; grey: single benchmarks.",
    )


def _rows(comparison: Comparison, metric: str, k: int | None) -> list[dict[str, Any]]:
    rows = []
    for key in (key for key in ABLATION if key in comparison.evaluated):
        means = comparison.by_benchmark(key, k) | {"average": comparison.average(key, k)}
        for benchmark, mean in means.items():
            estimate = mean.interval()
            there = published.scores(comparison.setting, key, f"{metric.lower()}32")
            rows.append(
                {
                    "dataset": comparison.setting[0],
                    "model": comparison.setting[1],
                    "metric": f"{metric}@{comparison.num_samples}",
                    "benchmark": benchmark,
                    "group_size": int(key.removeprefix("grpo_g")),
                    "value": estimate.value,
                    "low": estimate.low,
                    "high": estimate.high,
                    "published": there.get(benchmark, float("nan")),
                }
            )
    return rows


def _draw(axis: Axes, comparison: Comparison, frame: pd.DataFrame, metric: str) -> None:
    for benchmark, curve in frame.groupby("benchmark", sort=False):
        if benchmark != "average":
            axis.plot(curve["group_size"], curve["value"], color=GREY, linewidth=0.8, marker=".")
    label_ends(axis, frame)
    average = frame[frame["benchmark"] == "average"]
    x, y = average["group_size"], average["value"]
    axis.errorbar(
        x, y, yerr=[y - average["low"], average["high"] - y], color=LINE, capsize=2, linewidth=1.8
    )
    for key in (key for key in ABLATION if key in comparison.evaluated):
        size = int(key.removeprefix("grpo_g"))
        axis.plot(size, y[x == size], look(key)["marker"], color=look(key)["color"], zorder=3)
    axis.set_xscale("log", base=2)
    axis.set_xticks(list(x), [str(size) for size in x])
    axis.minorticks_off()
    axis.set_xlabel("group size G (rollouts a prompt)")
    axis.set_ylabel(f"{metric}@{comparison.num_samples} (%)")
    arms = [key for key in ABLATION if key in comparison.evaluated]
    what = f"{metric}@{comparison.num_samples} by group size"
    heading(axis, what, comparison.name, comparison.counts(arms), *comparison.not_run(ABLATION))


def label_ends(axis: Axes, frame: pd.DataFrame) -> None:
    """Writes the names right of the lines' ends, moved apart where they would overlap."""
    last = frame[frame["group_size"] == frame["group_size"].max()].sort_values("value")
    gap = 0.07 * (frame["value"].max() - frame["value"].min())
    beside = offset_copy(axis.transData, axis.get_figure(root=True), x=14, units="points")
    ends, size = last["value"].tolist(), frame["group_size"].max()
    for benchmark, end, place in zip(last["benchmark"], ends, apart(ends, gap), strict=True):
        axis.annotate(
            published.benchmark_name(benchmark),
            (size, end),
            (size, place),
            textcoords=beside,
            va="center",
            annotation_clip=False,  # even beyond the axis
            arrowprops=LEADER,
            fontsize=6.5,
            color=LINE if benchmark == "average" else "#555555",
        )


def apart(rising: Sequence[float], gap: float) -> list[float]:
    """The values moved down until they are `gap` apart, and up again from the lowest of them.

    >>> apart([1, 2, 7, 8], gap=3), apart([0, 98, 99, 100], gap=7)
    ([1, 4, 7, 10], [0, 86, 93, 100])
    """
    places: list[float] = []
    for value in reversed(rising):
        places.append(min(value, places[-1] - gap) if places else value)
    moved: list[float] = []
    for place in reversed(places):
        moved.append(max(place, moved[-1] + gap if moved else min(rising)))
    return moved


if __name__ == "__main__":
    main(build)
