"""Sub-groups of g rollouts from cached groups of G, in expectation or drawn.

P prompts, G cached rollouts each, D dimensions of a gradient. Rewards are 0 or 1. All g-subsets are
equally likely; their expectations are sums over the hypergeometric number k of correct rollouts.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from twogrpo.core.advantages import standardised_population

Array = np.ndarray


def zero_variance_share(num_correct: int, group_size: int, *, sub_size: int) -> float:
    """The probability that a random sub-group has zero variance: all correct or all wrong.

    >>> zero_variance_share(1, 4, sub_size=2)  # 3 of 6 pairs hold the correct one
    0.5
    """
    alive = sum(_hypergeometric(k, num_correct, group_size, sub_size) for k in range(1, sub_size))
    return 1.0 - alive


def contrast_weight(num_correct: int, group_size: int, *, sub_size: int) -> float:
    """The w for which the expected gradient of a random sub-group is w (s̄+ − s̄−).

    s̄± are the means over the correct and the wrong of the cached rollouts; given k correct the
    weight is sqrt(k/g (1 − k/g)), the group weight of Prop. 3.2.

    >>> contrast_weight(1, 2, sub_size=2)
    0.5
    """
    return sum(
        _hypergeometric(k, num_correct, group_size, sub_size)
        * math.sqrt(k / sub_size * (1 - k / sub_size))
        for k in range(1, sub_size)
    )


def contrasts(rewards_PG: Array, vectors_PGD: Tensor) -> Tensor:
    """The contrast s̄+ − s̄− of every prompt, [P, D]; 0 where one class is empty."""
    positive_PD, negative_PD = class_means(rewards_PG, vectors_PGD)
    is_mixed_P = torch.tensor(rewards_PG.max(axis=1) > rewards_PG.min(axis=1))
    return (positive_PD - negative_PD) * is_mixed_P[:, None]


def class_means(rewards_PG: Array, vectors_PGD: Tensor) -> tuple[Tensor, Tensor]:
    """The mean vectors of the correct and of the wrong rollouts, [P, D]; 0 for an empty class."""
    correct_PG = torch.tensor(rewards_PG, dtype=vectors_PGD.dtype)
    positive, negative = (
        torch.einsum("pg,pgd->pd", mask, vectors_PGD) / mask.sum(dim=1, keepdim=True).clamp_min(1)
        for mask in (correct_PG, 1 - correct_PG)
    )
    return positive, negative


def disjoint_gradients(
    rewards_PG: Array, vectors_PGD: Tensor, *, sub_size: int, rng: np.random.Generator
) -> Tensor:
    """The gradients of ⌊G/g⌋ disjoint random sub-groups of every prompt, [P, G/g, D].

    Each is (1/g) Σ A_i s_i, with the trainer's own advantage at ε = 0.
    """
    num_prompts, group_size = rewards_PG.shape
    num_subs = group_size // sub_size
    order_PG = rng.permuted(np.tile(np.arange(group_size), (num_prompts, 1)), axis=1)
    order_PG = order_PG[:, : num_subs * sub_size]
    rewards = torch.tensor(np.take_along_axis(rewards_PG, order_PG, axis=1)).double()
    advantages = standardised_population(rewards.reshape(-1, sub_size), epsilon=0.0)
    coefficients_PG = torch.zeros(num_prompts, group_size, num_subs, dtype=vectors_PGD.dtype)
    for prompt, order in enumerate(order_PG):
        places = torch.tensor(order)
        rows = advantages.view(num_prompts, -1)[prompt].to(vectors_PGD.dtype)
        coefficients_PG[prompt, places, torch.arange(len(order)) // sub_size] = rows / sub_size
    return torch.einsum("pgs,pgd->psd", coefficients_PG, vectors_PGD)


def _hypergeometric(k: int, num_correct: int, group_size: int, sub_size: int) -> float:
    ways = math.comb(num_correct, k) * math.comb(group_size - num_correct, sub_size - k)
    return ways / math.comb(group_size, sub_size)
