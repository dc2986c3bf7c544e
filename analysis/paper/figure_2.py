"""Figure 2: Pass@K against K on every benchmark, with bands over seeds and problems."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from analysis.exhibits.exhibit import Exhibit, main
from analysis.exhibits.style import band, legend, panels
from analysis.records import published
from analysis.records.frames import Runs
from analysis.stats.comparison import Comparison, comparisons
from analysis.stats.intervals import OVER_BOTH
from twogrpo.core.estimators import powers_of_two


def build(runs: Runs) -> Exhibit:
    """A row of panels for each setting, a panel for each benchmark."""
    settings = [c for c in comparisons(runs) if c.evaluated]
    most = max((len(c.benchmarks) for c in settings), default=1)
    size = {"width": 1.9, "height": 2.1, "sharey": "row"}
    figure, axes = panels(max(len(settings), 1), most, **size)
    rows: list[dict[str, Any]] = []
    for row_of_axes, comparison in zip(axes, settings, strict=False):
        of_setting = _rows(comparison)
        for axis, benchmark in zip(row_of_axes, comparison.benchmarks, strict=False):
            _draw(axis, benchmark, [row for row in of_setting if row["benchmark"] == benchmark])
        for unused in row_of_axes[len(comparison.benchmarks) :]:
            unused.set_axis_off()
        row_of_axes[0].set_ylabel("Pass@K (%)")
        rows += of_setting
    legend(figure, axes)
    figure.suptitle(f"Pass@K: {_caption(settings)}", fontsize=8.5, fontweight="bold")
    return Exhibit(
        name="figure_2",
        title="Figure 2: Pass@K",
        frame=pd.DataFrame(rows),
        figure=figure,
        note=f"Unbiased estimator of Pass@K; bands: {OVER_BOTH}.",
    )


def _rows(comparison: Comparison) -> list[dict[str, Any]]:
    rows = []
    for arm in comparison.evaluated_arms:
        for k in powers_of_two(comparison.num_samples):
            for benchmark, mean in comparison.by_benchmark(arm, k).items():
                estimate = mean.interval()
                rows.append(
                    {
                        "dataset": comparison.setting[0],
                        "model": comparison.setting[1],
                        "benchmark": benchmark,
                        "arm": arm,
                        "k": k,
                        "pass_at_k": estimate.value,
                        "low": estimate.low,
                        "high": estimate.high,
                    }
                )
    return rows


def _draw(axis: Axes, benchmark: str, rows: list[dict[str, Any]]) -> None:
    frame = pd.DataFrame(rows)
    for arm, curve in frame.groupby("arm", sort=False):
        band(axis, str(arm), curve["k"], curve["pass_at_k"], curve["low"], curve["high"])
    axis.set_xscale("log", base=2)
    ks = sorted(frame["k"].unique())
    axis.set_xticks(ks, [str(k) for k in ks])
    axis.minorticks_off()
    axis.set_title(published.benchmark_name(benchmark))
    axis.set_xlabel("K")


def _caption(settings: list[Comparison]) -> str:
    return "; ".join(f"{c.name}, {c.counts(c.evaluated_arms)}" for c in settings)


if __name__ == "__main__":
    main(build)
