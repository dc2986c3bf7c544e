"""Prop. C.4: many small groups under an improving policy find an answer at least as often.

With m groups of 2 at success rates p_0 ≤ p_1 ≤ …: 1 − Π(1−p_i)² ≥ 1 − (1−p_0)^{2m}. Measured: the
share of hard prompts that a run has solved at least once, against the rollouts it has spent.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.exhibits.exhibit import Exhibit
from analysis.exhibits.style import look, panels
from analysis.theory.run_folders import TrainingRun
from twogrpo.run_record.rollouts import CachedGroup

HARD = 0.05  # success rate of the initial policy below this
START, GROWTHS = 0.02, (0.0, 0.1, 0.25)  # p_i = START (1 + growth · i)
MAX_PAIRS = 32
COLOURS = ("#000000", "#56B4E9", "#D55E00")


def found_by_pairs(success_rates: Sequence[float]) -> float:
    """The chance of an answer by one group of 2 at each rate: 1 − Π(1−p_i)².

    >>> found_by_pairs([0.5, 0.5])  # 1 − (1/4)²
    0.9375
    """
    return float(1 - np.prod((1 - np.asarray(success_rates)) ** 2))


def found_by_one_group(success_rate: float, group_size: int) -> float:
    """The chance of an answer by one group at the first rate: 1 − (1−p)^G.

    >>> found_by_one_group(0.5, 4)
    0.9375
    """
    return 1 - (1 - success_rate) ** group_size


def hard_prompts(base: Sequence[CachedGroup]) -> set[str]:
    """The prompts that the initial policy solves in less than 5 % of its cached rollouts."""
    rewards: dict[str, list[float]] = {}
    for group in base:
        rewards.setdefault(group.prompt_id, []).extend(group.rewards)
    return {prompt for prompt, values in rewards.items() if np.mean(values) < HARD}


def solved_curve(groups: Sequence[CachedGroup], hard: set[str]) -> list[dict[str, float]]:
    """The rollouts spent after each step, and the share of `hard` prompts solved at least once."""
    solved: set[str] = set()
    spent, curve = 0, []
    for place, group in enumerate(groups):
        spent += len(group.rewards)
        if group.prompt_id in hard and max(group.rewards) == 1:
            solved.add(group.prompt_id)
        if place + 1 == len(groups) or groups[place + 1].step != group.step:
            curve.append({"rollouts": spent, "share": len(solved) / len(hard)})
    return curve


def build(runs: Sequence[TrainingRun], base: Sequence[CachedGroup]) -> Exhibit:
    """Left: the proposition. Right: the measurement, if there are runs and initial rollouts."""
    frame = pd.concat([_formula(), _measured(runs, hard_prompts(base))], ignore_index=True)
    figure, axes = panels(1, 2)
    for growth, colour in zip(GROWTHS, COLOURS, strict=True):
        rows = frame[frame["growth"] == growth]
        label = (
            f"pairs, p grows {growth:.0%} a visit" if growth else "one group of 2m = pairs, p fixed"
        )
        axes[0, 0].plot(rows["rollouts"], rows["share"], color=colour, label=label)
    axes[0, 0].set_title(f"Prop. C.4, p₀ = {START:.0%}")
    axes[0, 0].set(xlabel="rollouts on the prompt, 2m", ylabel="P(at least one correct)")
    axes[0, 0].set_ylim(0, 1)
    axes[0, 0].legend()
    count = 0
    for key, rows in frame[frame["arm"].notna()].groupby("arm", sort=False):
        count = int(rows["num_hard"].iloc[0])
        every = max(1, len(rows) // 8)
        axes[0, 1].plot(rows["rollouts"], rows["share"], markevery=every, **look(str(key)))
    axes[0, 1].set_title(f"{count} prompts of base success < {HARD:.0%}")
    axes[0, 1].set(xlabel="rollouts spent by the run", ylabel="share solved at least once")
    axes[0, 1].set_ylim(0, 1.05)
    if count:
        axes[0, 1].legend(loc="lower right")
    return Exhibit("exploration", "Prop. C.4: exploration", frame, figure=figure)


def _formula() -> pd.DataFrame:
    rows = []
    for growth in GROWTHS:
        rates = START * (1 + growth * np.arange(MAX_PAIRS))
        for m in range(1, MAX_PAIRS + 1):
            one_group = found_by_one_group(START, 2 * m)
            share = found_by_pairs(rates[:m].tolist())
            rows.append(
                {"growth": growth, "rollouts": 2 * m, "share": share, "one_group": one_group}
            )
    return pd.DataFrame(rows)


def _measured(runs: Sequence[TrainingRun], hard: set[str]) -> pd.DataFrame:
    rows = [
        {"arm": run.arm, "num_hard": len(hard), **point}
        for run in runs
        if hard
        for point in solved_curve(run.groups(), hard)
    ]
    return pd.DataFrame(rows, columns=["arm", "num_hard", "rollouts", "share"])
