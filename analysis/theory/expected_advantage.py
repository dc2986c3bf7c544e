"""Prop. C.1 by exact enumeration: the advantage a reward earns on average, for every G and p.

It follows that the expected gradient of a prompt of success rate p is w(p) ∇p with
w = E[A | r=1] − E[A | r=0], since p E[∇log π | r=1] = ∇p and (1−p) E[∇log π | r=0] = −∇p. At G = 2
the weight is 1 for every p: 2-GRPO climbs the mean reward itself. At G → ∞ it is 1/sqrt(p(1−p)):
large groups climb the mean of 2 arcsin(sqrt(p)), so very easy and very hard prompts weigh more.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import torch

from analysis.exhibits.exhibit import Exhibit
from analysis.exhibits.style import look, panels
from twogrpo.core.advantages import standardised_population

GROUP_SIZES = (2, 4, 8, 16, 64)
ARM = {2: "two_grpo", 4: "grpo_g4", 8: "grpo_g8", 16: "grpo_g16", 64: "grpo_g64"}


def expected_advantage(group_size: int, success_rate: float) -> tuple[float, float]:
    """Returns E[A | r=1] and E[A | r=0] at ε = 0, enumerating the rewards of the other G − 1.

    The advantages are those of `standardised_population`, the trainer's own function.

    >>> expected_advantage(2, 0.25)  # x − p
    (0.75, -0.25)
    """
    others = np.arange(group_size)  # correct ones among the other G − 1
    probabilities = [
        math.comb(group_size - 1, k) * success_rate**k * (1 - success_rate) ** (group_size - 1 - k)
        for k in others.tolist()
    ]
    first_correct, first_wrong = (
        float(np.dot(probabilities, _first_advantages(group_size, first=first)))
        for first in (1.0, 0.0)
    )
    return first_correct, first_wrong


def prompt_weight(group_size: int, success_rate: float) -> float:
    """The weight w(p) = E[A | r=1] − E[A | r=0].

    >>> prompt_weight(2, 0.01), prompt_weight(2, 0.5)
    (1.0, 1.0)
    """
    correct, wrong = expected_advantage(group_size, success_rate)
    return correct - wrong


def limits(success_rate: float) -> dict[str, tuple[float, float]]:
    """The limits of Prop. C.1: (E[A | r=1], E[A | r=0]) at G = 2 and for G → ∞."""
    deviation = math.sqrt(success_rate * (1 - success_rate))
    centred = (1 - success_rate, -success_rate)
    return {"G = 2": centred, "G → ∞": (centred[0] / deviation, centred[1] / deviation)}


def build() -> Exhibit:
    """Five group sizes from 2 to 64 on a grid of p, and the limits."""
    grid = np.round(np.arange(0.01, 1.0, 0.01), 2)
    rows = []
    for group_size in GROUP_SIZES:
        for p in grid.tolist():
            correct, wrong = expected_advantage(group_size, p)
            limit = limits(p)["G → ∞"]
            rows.append(
                {
                    "group_size": group_size,
                    "success_rate": p,
                    "advantage_if_correct": correct,
                    "advantage_if_wrong": wrong,
                    "prompt_weight": prompt_weight(group_size, p),
                    "difference_from_centred": correct - (1 - p),
                    "ratio_to_limit": correct / limit[0],
                }
            )
    frame = pd.DataFrame(rows)
    return Exhibit(
        name="expected_advantage",
        title="Prop. C.1: expected advantage, exact",
        frame=frame,
        figure=_figure(frame, grid),
    )


def _figure(frame: pd.DataFrame, grid: np.ndarray):  # type: ignore[no-untyped-def]
    figure, axes = panels(1, 2)
    left, right = axes[0]
    infinity = np.sqrt((1 - grid) / grid)
    for group_size in GROUP_SIZES:
        rows = frame[frame["group_size"] == group_size]
        style = look(ARM[group_size]) | {"label": f"G = {group_size}", "markevery": 12}
        left.plot(rows["success_rate"], rows["advantage_if_correct"], **style)
        right.plot(rows["success_rate"], rows["prompt_weight"], **style)
    for axis, limit in ((left, infinity), (right, 1 / np.sqrt(grid * (1 - grid)))):
        axis.plot(grid, limit, color="#000000", linestyle=":", label="G → ∞")
        axis.set_xlabel("success rate p of the prompt")
    left.set(ylim=(0, 4.5), ylabel="E[A | correct]", title="What a correct rollout earns")
    right.set(ylim=(0, 7), ylabel="weight w(p), gradient = w ∇p", title="What a prompt weighs")
    right.legend(ncols=2)
    return figure


def _first_advantages(group_size: int, *, first: float) -> list[float]:
    """The advantages of a rollout of reward `first` when k = 0 … G−1 of the others are correct."""
    others = torch.tril(torch.ones(group_size, group_size, dtype=torch.float64), diagonal=-1)
    rewards = others[:, :-1] if group_size > 1 else others
    rewards = torch.cat([torch.full((group_size, 1), first, dtype=torch.float64), rewards], dim=1)
    advantages = standardised_population(rewards, epsilon=0.0)[:, 0]
    return [float(value) for value in advantages]
