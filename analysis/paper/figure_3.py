"""Figure 3: training reward and accuracy against time, 2-GRPO and 16-GRPO.

The paper shows vision (Geometry3K) and code (Code-R1). Any other setting gets the same panels.
"""

from __future__ import annotations

from analysis.exhibits.curve_figures import curves_exhibit
from analysis.exhibits.exhibit import Exhibit, main
from analysis.paper.figure_5 import SHOWN
from analysis.records.frames import Runs


def build(runs: Runs) -> Exhibit:
    """A row of two panels for each setting."""
    title = "Figure 3: learning curves of 2-GRPO and 16-GRPO"
    return curves_exhibit(runs, "figure_3", title, arms=("grpo_g16", "two_grpo"), shown=SHOWN)


if __name__ == "__main__":
    main(build)
