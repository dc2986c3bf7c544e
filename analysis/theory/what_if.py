"""The effect of smaller groups, from the cached rollouts of a run with larger ones.

For every g up to the cached G, on the same prompts: the share of zero-variance groups; the cosine
of the expected gradient of g-groups with that of all G rollouts (more prompts do not close this
gap), and the cosine of one draw (noise included); the cost of resampling, and the change of
direction when zero-variance groups are dropped ("bias given informative").
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from analysis.exhibits.exhibit import Exhibit
from analysis.exhibits.style import panels
from analysis.theory.subgroups import (
    contrast_weight,
    contrasts,
    disjoint_gradients,
    zero_variance_share,
)
from twogrpo.errors import ConfigError

NUM_DRAWS = 200


def counts(rewards_PG: np.ndarray, *, sub_size: int) -> dict[str, float]:
    """The row that follows from the rewards alone, exact in expectation over sub-groups.

    `rollouts_a_mixed_group_new_prompt` is g / P(signal) over the prompts; `…_same_prompt` draws
    groups of one prompt until one has signal, at most G // g.
    """
    num_prompts, group_size = rewards_PG.shape
    num_correct = rewards_PG.sum(axis=1).astype(int).tolist()
    dead = np.array([zero_variance_share(k, group_size, sub_size=sub_size) for k in num_correct])
    alive = 1 - float(dead.mean())
    tries = group_size // sub_size
    # Draws until signal, capped: Σ_{j<tries} P(the first j have none), taken as independent.
    drawn = float(np.mean([sum(d**j for j in range(tries)) for d in dead.tolist()]))
    mixed_at_end = float(np.mean(1 - dead**tries))
    return {
        "group_size": sub_size,
        "num_prompts": num_prompts,
        "mean_reward": float(rewards_PG.mean()),
        "dead_share": float(dead.mean()),
        "rollouts_a_mixed_group_new_prompt": sub_size / alive if alive else np.inf,
        "rollouts_a_mixed_group_same_prompt": sub_size * drawn / mixed_at_end
        if mixed_at_end
        else np.inf,
    }


def directions(
    rewards_PG: np.ndarray, vectors_PGD: Tensor, *, sub_size: int, rng: np.random.Generator
) -> dict[str, float]:
    """The cosines with the gradient of all G rollouts of the same prompts.

    `cosine_expected`: the expected gradient of g-groups. `cosine_one_draw`: one g-group a prompt,
    mean and 95 % range over draws. `cosine_given_mixed`: the expected gradient of g-groups with
    signal (resampling trains on these) with the expected gradient of all g-groups.
    """
    group_size = rewards_PG.shape[1]
    num_correct = rewards_PG.sum(axis=1).astype(int).tolist()
    contrasts_PD = contrasts(rewards_PG, vectors_PGD)
    full_D = _weighted(
        contrasts_PD, [contrast_weight(k, group_size, sub_size=group_size) for k in num_correct]
    )
    weights = [contrast_weight(k, group_size, sub_size=sub_size) for k in num_correct]
    expected_D = _weighted(contrasts_PD, weights)
    alive = [1 - zero_variance_share(k, group_size, sub_size=sub_size) for k in num_correct]
    given_mixed = [w / a if a > 0 else 0.0 for w, a in zip(weights, alive, strict=True)]
    draws = _draw_cosines(rewards_PG, vectors_PGD, full_D, sub_size=sub_size, rng=rng)
    return {
        "cosine_expected": _cosine(expected_D, full_D),
        "cosine_one_draw": float(np.mean(draws)),
        "cosine_one_draw_low": float(np.percentile(draws, 2.5)),
        "cosine_one_draw_high": float(np.percentile(draws, 97.5)),
        "cosine_given_mixed": _cosine(_weighted(contrasts_PD, given_mixed), expected_D),
    }


def table(
    rewards_PG: np.ndarray, vectors_PGD: Tensor | None, rng: np.random.Generator
) -> pd.DataFrame:
    """A row for each group size 2, 4, 8, … up to G; cosines only with gradients.

    Raises:
        ConfigError: the rewards are not 0 or 1, or the groups are smaller than 4.
    """
    group_size = rewards_PG.shape[1]
    if group_size < 4 or not np.isin(rewards_PG, (0, 1)).all():
        raise ConfigError(
            f"rollouts in groups of {group_size} with rewards {np.unique(rewards_PG)[:3]}: "
            "what-if needs groups of 4 or more and rewards that are 0 or 1"
        )
    sizes = [2**i for i in range(1, 12) if 2**i <= group_size]
    rows: list[dict[str, Any]] = [counts(rewards_PG, sub_size=size) for size in sizes]
    if vectors_PGD is not None:
        for row, size in zip(rows, sizes, strict=True):
            row |= directions(rewards_PG, vectors_PGD, sub_size=size, rng=rng)
    return pd.DataFrame(rows)


def build(rewards_PG: np.ndarray, vectors_PGD: Tensor | None, rng: np.random.Generator) -> Exhibit:
    """Left: zero-variance groups. Right: directions."""
    frame = table(rewards_PG, vectors_PGD, rng)
    figure, axes = panels(1, 2)
    for axis in axes[0]:
        axis.set_xscale("log", base=2)
        axis.set_xticks(frame["group_size"], [str(size) for size in frame["group_size"]])
        axis.set_xlabel("group size taken from the cache")
        axis.set_ylim(0, 1.05)
    axes[0, 0].plot(frame["group_size"], frame["dead_share"], color="#D55E00", marker="s")
    axes[0, 0].set(ylabel="share of dead groups", title="Groups without a gradient")
    if vectors_PGD is not None:
        _draw_directions(axes[0, 1], frame)
    return Exhibit("what_if", "What if the groups were smaller?", frame, figure=figure)


def _draw_directions(axis: Any, frame: pd.DataFrame) -> None:
    sizes = frame["group_size"]
    lines = (
        ("cosine_expected", "expected gradient", "#0072B2", "o", "-"),
        ("cosine_one_draw", "one group a prompt", "#D55E00", "s", "--"),
        ("cosine_given_mixed", "mixed only, with all", "#009E73", "^", "-."),
    )
    for column, label, colour, marker, dashes in lines:
        axis.plot(sizes, frame[column], color=colour, marker=marker, linestyle=dashes, label=label)
    low, high = frame["cosine_one_draw_low"], frame["cosine_one_draw_high"]
    axis.fill_between(sizes, low, high, color="#D55E00", alpha=0.15, linewidth=0)
    axis.set(ylabel="cosine", title=f"… beside the gradient of all {sizes.iloc[-1]}")
    axis.legend(loc="lower right")


def _draw_cosines(
    rewards_PG: np.ndarray,
    vectors_PGD: Tensor,
    full_D: Tensor,
    *,
    sub_size: int,
    rng: np.random.Generator,
) -> list[float]:
    cosines: list[float] = []
    while len(cosines) < NUM_DRAWS:
        subs_PSD = disjoint_gradients(rewards_PG, vectors_PGD, sub_size=sub_size, rng=rng)
        cosines += [_cosine(one_PD.sum(dim=0), full_D) for one_PD in subs_PSD.unbind(dim=1)]
        if subs_PSD.shape[1] == 1:  # all G at once: every draw is the same
            break
    return cosines


def _weighted(contrasts_PD: Tensor, weights: list[float]) -> Tensor:
    return torch.tensor(weights, dtype=contrasts_PD.dtype) @ contrasts_PD


def _cosine(left_D: Tensor, right_D: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(left_D, right_D, dim=0))
