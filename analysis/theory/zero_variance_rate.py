"""The share of groups without a gradient: measured, and by the two formulas of the paper.

Appendix D.3 prints 1 − r̄² − (1−r̄)², which is the share *kept*; Table 3 holds r̄² + (1−r̄)². The
latter is a lower bound of the true E[p² + (1−p)²] (Jensen): prompts differ in difficulty.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.exhibits.exhibit import Exhibit
from analysis.exhibits.style import panels
from analysis.theory.run_folders import TrainingRun
from analysis.theory.subgroups import zero_variance_share
from twogrpo.core.estimators import discard_rate, discard_rate_of_mean, kept_rate_of_mean
from twogrpo.run_record.rollouts import CachedGroup

LINES = {
    "measured": ("groups of 2, measured", "#D55E00", "-"),
    "per_prompt": ("E[p² + (1−p)²] from groups of 16", "#0072B2", "--"),
    "of_mean": ("r̄² + (1−r̄)², Table 3", "#E69F00", "-."),
    "printed": ("1 − r̄² − (1−r̄)², as printed", "#000000", ":"),
}


def generation_row(groups: Sequence[CachedGroup]) -> dict[str, float]:
    """The rates of one step's groups.

    `per_prompt`, the share of a group's pairs with equal rewards, is unbiased for the mean over
    prompts of p² + (1−p)². At G = 2 it is the measured discard rate.
    """
    mean = float(np.mean([reward for group in groups for reward in group.rewards]))
    pairs = [
        zero_variance_share(sum(r == 1 for r in group.rewards), len(group.rewards), sub_size=2)
        for group in groups
    ]
    return {
        "mean_reward": mean,
        "measured": discard_rate(group.rewards for group in groups),
        "per_prompt": float(np.mean(pairs)),
        "of_mean": discard_rate_of_mean(mean),
        "printed": kept_rate_of_mean(mean),
    }


def build(runs: Sequence[TrainingRun]) -> Exhibit:
    """A panel for a run of pairs and one for a run of large groups, if they kept rollouts."""
    frames = []
    for run in runs:
        steps: dict[int, list[CachedGroup]] = {}
        for group in run.groups():
            steps.setdefault(group.step, []).append(group)
        rows = [{"arm": run.arm, "step": step, **generation_row(g)} for step, g in steps.items()]
        frames += [pd.DataFrame(rows)] if rows else []
    frame = pd.concat(frames, ignore_index=True)
    shown = [arm for arm in ("two_grpo", "grpo_g16") if arm in set(frame["arm"])]
    figure, axes = panels(1, max(len(shown), 1), sharey=True)
    for axis, arm in zip(axes[0], shown, strict=False):
        rows = frame[frame["arm"] == arm]
        skipped = "per_prompt" if arm == "two_grpo" else "measured"
        for name, (label, colour, dashes) in LINES.items():
            if name != skipped:
                axis.plot(rows["step"], rows[name], color=colour, linestyle=dashes, label=label)
        axis.set(xlabel="generation", ylabel="share of groups of 2", ylim=(0, 1))
        axis.set_title({"two_grpo": "2-GRPO", "grpo_g16": "16-GRPO, pairs of its groups"}[arm])
        axis.legend()
    return Exhibit("discard_rate", "Discard rate: measured and by formula", frame, figure=figure)
