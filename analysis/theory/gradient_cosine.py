"""Is GRPO secretly DPO? The cosine of both gradients on the same mini-batches, over training."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis.exhibits.exhibit import Exhibit
from analysis.exhibits.style import look, panels
from analysis.theory.run_folders import TrainingRun

KEYS = {
    "gradient/cosine_of_grpo_and_dpo": "DPO as it is (sum over tokens)",
    "gradient/cosine_of_grpo_and_dpo_of_token_means": "DPO with the mean over tokens",
}


def build(runs: Sequence[TrainingRun]) -> Exhibit:
    """Left: against DPO itself. Right: against DPO with token means, a sigmoid apart."""
    rows = [
        {
            "arm": run.arm,
            "group_size": run.group_size,
            "step": row["step"],
            "twin": key,
            "cosine": row[key],
        }
        for run in runs
        for row in run.rows
        for key in KEYS
        if key in row
    ]
    frame = pd.DataFrame(rows, columns=["arm", "group_size", "step", "twin", "cosine"])
    figure, axes = panels(1, 2, sharey=True)
    for axis, (key, title) in zip(axes[0], KEYS.items(), strict=True):
        for arm, line in frame[frame["twin"] == key].groupby("arm", sort=False):
            every = max(1, len(line) // 8)
            axis.plot(line["step"], line["cosine"], markevery=every, **look(str(arm)))
        axis.axhline(1, color="#000000", linewidth=0.8)
        axis.set(xlabel="generation", ylabel="cosine of the gradients", ylim=(0, 1.05), title=title)
        if key in set(frame["twin"]):
            axis.legend(title="policy trained by", loc="lower left")
    return Exhibit("gradient_cosine", "Gradients of 2-GRPO and DPO", frame, figure=figure)
