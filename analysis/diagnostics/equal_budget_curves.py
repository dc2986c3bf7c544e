"""Beyond the paper: the same curves against seconds, rollouts, tokens and optimiser steps.

They show the gain of an arm by unit of each resource. Only time depends on the machine.
"""

from __future__ import annotations

from analysis.exhibits.curve_figures import Panel, curves_exhibit
from analysis.exhibits.exhibit import Exhibit, main
from analysis.records.frames import Runs

SHOWN = tuple(
    Panel(metric, label, "share right", f"spent/{resource}")
    for resource in ("seconds", "rollouts", "tokens", "updates")
    for metric, label in (
        ("reward/mean", "Training reward"),
        ("validation/mean", "Validation accuracy"),
    )
)


def build(runs: Runs) -> Exhibit:
    """A row of two panels for each resource."""
    return curves_exhibit(runs, "iso", "Equal resources", shown=SHOWN)


if __name__ == "__main__":
    main(build)
