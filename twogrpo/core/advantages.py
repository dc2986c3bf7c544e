"""Advantages: what a rollout's reward is worth within its group. Pure; P prompts, G rollouts each.

To add one, write its function and its entry in `ADVANTAGES`. The functions differ only in their
baseline and scale. On a mixed pair (G = 2, rewards 1 and 0):

| name                      | value on the pair | used by                                    |
|---------------------------|-------------------|--------------------------------------------|
| `standardised_population` | ±1                | the paper (its Eq. for A_i)                |
| `standardised_without_zero_variance` | ±P/P₊  | zero-variance groups out of the denominator |
| `standardised_sample`     | ±0.707            | verl, TRL, OpenRLHF                        |
| `centred`                 | ±0.5              | Dr. GRPO (Liu et al. 2025, arXiv 2503.20783) |
| `leave_one_out`           | ±1                | RLOO (Ahmadian et al. 2024, arXiv 2402.14740) |
| `leave_one_out_standardised` | ±1             | NeMo RL                                    |
| `class_balanced`          | ±2                | CTR-GRPO (the paper, v2)                   |

A group whose rewards are all equal has advantage exactly 0 under every name. The advantages of DPO
also depend on the current policy; they are in twogrpo/core/dpo.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from twogrpo.core.dpo import preference_advantages, preference_over_all_pairs

AdvantageFunction = Callable[..., Tensor]


@dataclass(frozen=True)
class Advantage:
    """A choice of `algorithm.advantage`.

    Without `refresh` the rewards decide alone: `from_rewards(rewards_PG, *, epsilon)` returns the
    advantages [P, G]. With it `from_rewards(rewards_PG)` returns pair weights [P, G, G], and just
    before each update `refresh(log_ratios_PG, pair_weights_PGG, *, beta)` returns the advantages
    [P, G] at the current policy, where `log_ratios_PG` are the sums over tokens of
    log π_θ − log π_ref.

    `required_surrogate` and `required_aggregation` are the only ones it goes with; None: any.
    """

    from_rewards: AdvantageFunction
    refresh: AdvantageFunction | None = None
    required_surrogate: str | None = None
    required_aggregation: str | None = None

    @property
    def needs_reference_policy(self) -> bool:
        """Whether the advantages depend on log π_θ − log π_ref."""
        return self.refresh is not None


def standardised_population(rewards_PG: Tensor, *, epsilon: float) -> Tensor:
    """A_i = (r_i − mean(r)) / (std(r) + ε), std with denominator G (Shao et al. 2024, 2402.03300).

    >>> import torch
    >>> standardised_population(torch.tensor([[1.0, 0.0], [1.0, 1.0]]), epsilon=0.0)
    tensor([[ 1., -1.],
            [ 0.,  0.]])
    """
    return _standardised(rewards_PG, epsilon=epsilon, correction=0)


def standardised_sample(rewards_PG: Tensor, *, epsilon: float) -> Tensor:
    """`standardised_population` with the sample standard deviation (denominator G − 1).

    >>> import torch
    >>> standardised_sample(torch.tensor([[1.0, 0.0]]), epsilon=0.0)
    tensor([[ 0.7071, -0.7071]])
    """
    return _standardised(rewards_PG, epsilon=epsilon, correction=1)


def centred(rewards_PG: Tensor, *, epsilon: float = 0.0) -> Tensor:
    """A_i = r_i − mean(r) (Liu et al. 2025, 2503.20783, "Dr. GRPO"). `epsilon` is not used."""
    _check_groups(rewards_PG)
    return _zero_where_equal(rewards_PG, rewards_PG - rewards_PG.mean(dim=-1, keepdim=True))


def leave_one_out(rewards_PG: Tensor, *, epsilon: float = 0.0) -> Tensor:
    """A_i = r_i − mean of the *other* rewards = G/(G−1) · (r_i − mean(r)); Ahmadian et al. 2024.

    `epsilon` is not used.
    """
    group_size = rewards_PG.shape[-1]
    return centred(rewards_PG) * (group_size / (group_size - 1))


def leave_one_out_standardised(rewards_PG: Tensor, *, epsilon: float) -> Tensor:
    """`leave_one_out` divided by (population std of the *other* rewards + ε) where that is not 0.

    At G = 2 there is a single other reward, so the deviation is 0 and nothing is divided. The same
    holds for the only correct rollout of a group, because the others are all 0.

    >>> import torch
    >>> leave_one_out_standardised(torch.tensor([[1.0, 0.0]]), epsilon=1e-6)
    tensor([[ 1., -1.]])
    """
    _check_groups(rewards_PG)
    num_others = rewards_PG.shape[-1] - 1
    means_PG = (rewards_PG.sum(dim=-1, keepdim=True) - rewards_PG) / num_others
    differences_PGG = rewards_PG[:, None, :] - means_PG[:, :, None]
    squares_PG = differences_PGG.square().sum(dim=-1) - (rewards_PG - means_PG).square()
    # A rounding residue does not count as a deviation.
    stds_PG = torch.where(squares_PG > 1e-6, squares_PG / num_others, 0.0).sqrt()
    scales_PG = torch.where(stds_PG > 0, stds_PG + epsilon, 1.0)
    return _zero_where_equal(rewards_PG, (rewards_PG - means_PG) / scales_PG)


def class_balanced(rewards_PG: Tensor, *, epsilon: float = 0.0) -> Tensor:
    """A_i = 1/p̂ for a correct rollout and −1/(1−p̂) for a wrong one: CTR-GRPO (the paper, v2).

    It is `standardised_population` divided by sqrt(p̂(1−p̂)), p̂ the group's mean reward, so that
    the mean over a group is (mean over correct) − (mean over wrong). `epsilon` is not used.

    Raises:
        ValueError: a reward is neither 0 nor 1.
    """
    _check_groups(rewards_PG)
    if not bool(((rewards_PG == 0) | (rewards_PG == 1)).all()):
        raise ValueError(
            "algorithm.advantage=class_balanced needs rewards that are 0 or 1: "
            "use standardised_population"
        )
    mean_P1 = rewards_PG.mean(dim=-1, keepdim=True)
    variance_P1 = (mean_P1 * (1 - mean_P1)).clamp_min(1e-12)
    return _zero_where_equal(rewards_PG, (rewards_PG - mean_P1) / variance_P1)


def standardised_without_zero_variance(rewards_PG: Tensor, *, epsilon: float) -> Tensor:
    """`standardised_population` times P over the number of groups with signal.

    With the sequence means, a mini-batch's mean is one over its groups with signal alone:
    zero-variance groups leave the denominator, as where they are filtered out (DAPO's Eq. 11
    without its new prompts).

    >>> import torch
    >>> standardised_without_zero_variance(torch.tensor([[1.0, 0.0], [1.0, 1.0]]), epsilon=0.0)
    tensor([[ 2., -2.],
            [ 0.,  0.]])
    """
    advantages_PG = standardised_population(rewards_PG, epsilon=epsilon)
    num_with_signal = (advantages_PG != 0).any(dim=-1).sum().clamp_min(1)
    return advantages_PG * (len(rewards_PG) / num_with_signal)


ADVANTAGES = {
    "standardised_population": Advantage(standardised_population),
    "standardised_without_zero_variance": Advantage(standardised_without_zero_variance),
    "standardised_sample": Advantage(standardised_sample),
    "centred": Advantage(centred),
    "leave_one_out": Advantage(leave_one_out),
    "leave_one_out_standardised": Advantage(leave_one_out_standardised),
    "class_balanced": Advantage(class_balanced),
    # Only with this surrogate and this aggregation is it DPO.
    "preference_over_all_pairs": Advantage(
        preference_over_all_pairs,
        refresh=preference_advantages,
        required_surrogate="log_likelihood",
        required_aggregation="sequence_mean_of_token_sums",
    ),
}


def _standardised(rewards_PG: Tensor, *, epsilon: float, correction: int) -> Tensor:
    _check_groups(rewards_PG)
    deviations_PG = rewards_PG - rewards_PG.mean(dim=-1, keepdim=True)
    scale_P1 = rewards_PG.std(dim=-1, correction=correction, keepdim=True) + epsilon
    return _zero_where_equal(rewards_PG, deviations_PG / scale_P1)


def _zero_where_equal(rewards_PG: Tensor, advantages_PG: Tensor) -> Tensor:
    """The advantages, exactly 0 where a group's rewards are equal: no rounding residue is left."""
    is_equal_P1 = (rewards_PG == rewards_PG[..., :1]).all(dim=-1, keepdim=True)
    return advantages_PG.masked_fill(is_equal_P1, 0.0)


def _check_groups(rewards_PG: Tensor) -> None:
    if rewards_PG.ndim != 2 or rewards_PG.shape[-1] < 2:
        raise ValueError(
            f"rewards of shape {tuple(rewards_PG.shape)}: need [prompts, group_size] with "
            "algorithm.group_size >= 2, a group of one has no baseline"
        )
