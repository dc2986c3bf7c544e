"""Figure 5: training reward and validation accuracy against time, for every group size."""

from __future__ import annotations

from analysis.exhibits.curve_figures import Panel, curves_exhibit
from analysis.exhibits.exhibit import Exhibit, main
from analysis.records.frames import Runs
from twogrpo.run_record.arms import ABLATION

SHOWN = (
    Panel("reward/mean", "Training reward", "share right"),
    Panel("validation/mean", "Validation accuracy", "share right"),
)


def build(runs: Runs) -> Exhibit:
    """Left: the training reward. Right: the validation accuracy. Moving average over four."""
    title = "Figure 5: learning curves by group size"
    return curves_exhibit(runs, "figure_5", title, arms=ABLATION, shown=SHOWN)


if __name__ == "__main__":
    main(build)
