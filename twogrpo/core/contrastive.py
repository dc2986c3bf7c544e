"""GRPO as contrastive learning (the paper, 2510.00977, Prop. 3.2, Lemma B.1, App. B.4). Pure.

The paper's claim as code, for tests and readers; nothing trains with it. With binary rewards a
group's GRPO objective contrasts its N correct with its M wrong rollouts. It is written twice: here
as the contrast, and as advantage × surrogate × aggregation, the way the trainer computes it. The
two must agree up to rounding. So must the closed forms of the coefficient of each token's
∇π_θ(o_t), for GRPO, for its variant with one ratio per sequence, and for DPO.

Shapes: G rollouts of one prompt (N + M = G), T tokens; one group per call. A group without a
correct or without a wrong rollout contributes exactly 0.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def deviation_weight(rewards_G: Tensor) -> Tensor:
    """sqrt(p̂(1−p̂)), p̂ = N/G: the weight of a group in GRPO (Prop. 3.2)."""
    mean = rewards_G.mean()
    return (mean * (1 - mean)).sqrt()


def constant_weight(rewards_G: Tensor) -> Tensor:
    """1: the weight of a group in CTR-GRPO (the paper, v2)."""
    return rewards_G.new_ones(())


GroupWeight = Callable[[Tensor], Tensor]


def contrastive_objective(
    policy_logps_GT: Tensor,
    old_logps_GT: Tensor,
    *,
    rewards_G: Tensor,
    response_mask_GT: Tensor,
    clip_low: float,
    clip_high: float,
    group_weight: GroupWeight = deviation_weight,
) -> Tensor:
    """w (mean over correct of mean_t min(ρ, 1+ε_high) − mean over wrong of mean_t max(ρ, 1−ε_low)).

    The right-hand side of Prop. 3.2 for one group, to be maximised; ρ = π_θ/π_old of a token.

    Raises:
        ValueError: a reward is neither 0 nor 1.
    """
    ratios_GT = _token_ratios(policy_logps_GT, old_logps_GT, response_mask_GT)
    is_correct_G1 = _is_correct(rewards_G)[:, None]
    bounded_GT = torch.where(
        is_correct_G1, ratios_GT.clamp(max=1 + clip_high), ratios_GT.clamp(min=1 - clip_low)
    )
    means_G = _token_mean(bounded_GT, response_mask_GT)
    return group_weight(rewards_G) * (_class_balanced(rewards_G) * means_G).sum()


def grpo_token_coefficients(
    policy_logps_GT: Tensor,
    old_logps_GT: Tensor,
    *,
    rewards_G: Tensor,
    response_mask_GT: Tensor,
    clip_low: float,
    clip_high: float,
) -> Tensor:
    """∂J/∂π_θ(o_t) of a group's GRPO objective: ± [not clipped] sqrt(p̂(1−p̂)) / (G± |o| π_old(o_t)).

    The GRPO row of the coefficient table after Lemma B.1, positive for correct rollouts.
    """
    ratios_GT = _token_ratios(policy_logps_GT, old_logps_GT, response_mask_GT)
    is_unclipped_GT = _is_inside(ratios_GT, rewards_G, clip_low=clip_low, clip_high=clip_high)
    weights_G = deviation_weight(rewards_G) * _class_balanced(rewards_G)
    lengths_G1 = response_mask_GT.sum(dim=-1, keepdim=True).clamp_min(1)
    coefficients_GT = weights_G[:, None] / lengths_G1 * torch.exp(-old_logps_GT)
    return coefficients_GT * is_unclipped_GT * response_mask_GT


def sequence_ratio_token_coefficients(
    policy_logps_GT: Tensor,
    old_logps_GT: Tensor,
    *,
    rewards_G: Tensor,
    response_mask_GT: Tensor,
    clip_low: float,
    clip_high: float,
) -> Tensor:
    """`grpo_token_coefficients` with one ratio s = exp(mean_t log ρ_t) for the entire sequence.

    ± [s not clipped] · sqrt(p̂(1−p̂)) · s / (G± |o| π_θ(o_t)): as in DPO, the tokens of a rollout
    differ only by 1/π_θ(o_t). This is the bridge of App. B.4 in the form of GSPO (Zheng et al.
    2025, 2507.18071).
    """
    log_ratios_GT = (policy_logps_GT - old_logps_GT) * response_mask_GT
    lengths_G1 = response_mask_GT.sum(dim=-1, keepdim=True).clamp_min(1)
    ratios_G1 = torch.exp(log_ratios_GT.sum(dim=-1, keepdim=True) / lengths_G1)
    is_unclipped_G1 = _is_inside(ratios_G1, rewards_G, clip_low=clip_low, clip_high=clip_high)
    weights_G = deviation_weight(rewards_G) * _class_balanced(rewards_G)
    coefficients_G1 = weights_G[:, None] * ratios_G1 * is_unclipped_G1 / lengths_G1
    return coefficients_G1 * torch.exp(-policy_logps_GT) * response_mask_GT


def dpo_token_coefficients(
    policy_logps_2T: Tensor,
    reference_logps_2T: Tensor,
    *,
    response_mask_2T: Tensor,
    beta: float,
) -> Tensor:
    """−∂L/∂π_θ(o_t) of one DPO pair: ± β σ(r̂(o−) − r̂(o+)) / π_θ(o_t), r̂ = β log(π_θ/π_ref).

    Lemma B.1; row 0 is the preferred rollout, row 1 the other.
    """
    log_ratios_2 = ((policy_logps_2T - reference_logps_2T) * response_mask_2T).sum(dim=-1)
    coefficient = beta * torch.sigmoid(beta * (log_ratios_2[1] - log_ratios_2[0]))
    signs_21 = policy_logps_2T.new_tensor([[1.0], [-1.0]])
    return signs_21 * coefficient * torch.exp(-policy_logps_2T) * response_mask_2T


def _class_balanced(rewards_G: Tensor) -> Tensor:
    """+1/G+ for a correct and −1/G− for a wrong rollout; 0 where either class is empty."""
    is_correct_G = _is_correct(rewards_G)
    num_correct, num_wrong = is_correct_G.sum(), (~is_correct_G).sum()
    if num_correct == 0 or num_wrong == 0:
        return torch.zeros_like(rewards_G)
    correct_G = is_correct_G.to(rewards_G.dtype)
    return correct_G / num_correct - (1 - correct_G) / num_wrong


def _is_correct(rewards_G: Tensor) -> Tensor:
    if not bool(((rewards_G == 0) | (rewards_G == 1)).all()):
        raise ValueError(f"rewards={rewards_G.tolist()}: the contrastive form needs 0 or 1")
    return rewards_G == 1


def _is_inside(ratios: Tensor, rewards_G: Tensor, *, clip_low: float, clip_high: float) -> Tensor:
    """Whether the clip bound of the rollout's class leaves the gradient unclipped."""
    return torch.where(
        _is_correct(rewards_G)[:, None], ratios < 1 + clip_high, ratios > 1 - clip_low
    )


def _token_ratios(policy_logps_GT: Tensor, old_logps_GT: Tensor, mask_GT: Tensor) -> Tensor:
    return torch.exp((policy_logps_GT - old_logps_GT).masked_fill(mask_GT == 0, 0.0))


def _token_mean(values_GT: Tensor, mask_GT: Tensor) -> Tensor:
    return (values_GT * mask_GT).sum(dim=-1) / mask_GT.sum(dim=-1).clamp_min(1)
