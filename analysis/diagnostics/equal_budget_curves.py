"""Beyond the paper: the same curves against seconds, rollouts, tokens and optimiser steps.

What an arm gains for a unit of each resource: time depends on the machine, the others do not.
"""

from __future__ import annotations

from analysis.exhibits.curve_figures import Panel, curves_exhibit
from analysis.exhibits.exhibit import Exhibit, main
from analysis.records.arms import MAIN
from analysis.records.frames import Runs

SHOWN = tuple(
    Panel(metric, spoken, "share right", f"spent/{resource}")
    for resource in ("seconds", "rollouts", "tokens", "updates")
    for metric, spoken in (
        ("reward/mean", "Training reward"),
        ("validation/mean", "Validation accuracy"),
    )
)


def build(runs: Runs) -> Exhibit:
    """A row of two panels a resource."""
    return curves_exhibit(runs, "iso", "Equal resources", arms=MAIN, shown=SHOWN)


if __name__ == "__main__":
    main(build)
