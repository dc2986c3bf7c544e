"""Surrogates: the per-token objective of the policy given π_old and an advantage. Pure.

N sequences, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

SurrogateFunction = Callable[..., Tensor]


def token_ratio_clipped(
    policy_logps_NT: Tensor,
    old_logps_NT: Tensor,
    *,
    advantages_N: Tensor,
    response_mask_NT: Tensor,
    clip_low: float,
    clip_high: float,
) -> Tensor:
    """min(ρ A, clip(ρ, 1−ε_low, 1+ε_high) A) with ρ = π_θ/π_old of each token, [N, T].

    Schulman et al. 2017 (1707.06347) Eq. 7 with one ratio a token (Shao et al. 2024, 2402.03300,
    Eq. 3) and two bounds (Yu et al. 2025, 2503.14476, Eq. 8). To be maximised.
    """
    ratios_NT = torch.exp(_masked(policy_logps_NT - old_logps_NT, response_mask_NT))
    return _pessimistic(ratios_NT, advantages_N[:, None], clip_low=clip_low, clip_high=clip_high)


def sequence_ratio_clipped(
    policy_logps_NT: Tensor,
    old_logps_NT: Tensor,
    *,
    advantages_N: Tensor,
    response_mask_NT: Tensor,
    clip_low: float,
    clip_high: float,
) -> Tensor:
    """As `token_ratio_clipped` with one ratio a sequence, the geometric mean of its token ratios.

    s = exp(mean_t log ρ_t), the same at every token: GSPO (Zheng et al. 2025, 2507.18071, Eq. 5–7).
    """
    log_ratios_NT = _masked(policy_logps_NT - old_logps_NT, response_mask_NT)
    lengths_N = response_mask_NT.sum(dim=-1).clamp_min(1)
    ratios_N1 = torch.exp(log_ratios_NT.sum(dim=-1) / lengths_N)[:, None]
    objective_N1 = _pessimistic(
        ratios_N1, advantages_N[:, None], clip_low=clip_low, clip_high=clip_high
    )
    return objective_N1.expand_as(log_ratios_NT)


def log_likelihood(
    policy_logps_NT: Tensor,
    old_logps_NT: Tensor,
    *,
    advantages_N: Tensor,
    response_mask_NT: Tensor,
    clip_low: float,
    clip_high: float,
) -> Tensor:
    """A log π_θ of each token, [N, T]: REINFORCE (Williams 1992), no ratio and no clip.

    With a preference advantage (twogrpo/core/dpo.py) its gradient is DPO's.
    """
    return advantages_N[:, None] * _masked(policy_logps_NT, response_mask_NT)


SURROGATES: dict[str, SurrogateFunction] = {
    function.__name__: function
    for function in (token_ratio_clipped, sequence_ratio_clipped, log_likelihood)
}

# Those that weigh by π_θ/π_old: only for them π_old has to be computed.
SURROGATES_WITH_RATIO = ("token_ratio_clipped", "sequence_ratio_clipped")


def truncated_importance_weights(
    old_logps_NT: Tensor, sampler_logps_NT: Tensor, *, response_mask_NT: Tensor, cap: float
) -> Tensor:
    """min(π_old / π_sampler, C) of each token, 0 off the mask; a factor of the token's weight.

    Corrects for a sampler whose numerics differ from the trainer's (Yao et al. 2025, "Your
    Efficient RL Framework Secretly Brings You Off-Policy RL Training"); no gradient goes through
    it. 1 everywhere where the two agree and C ≥ 1.
    """
    ratios_NT = _masked(old_logps_NT.detach() - sampler_logps_NT, response_mask_NT).exp()
    return ratios_NT.clamp(max=cap) * response_mask_NT


def _pessimistic(
    ratios: Tensor, advantages: Tensor, *, clip_low: float, clip_high: float
) -> Tensor:
    clipped = ratios.clamp(1 - clip_low, 1 + clip_high)
    return torch.minimum(ratios * advantages, clipped * advantages)


def _masked(log_ratios_NT: Tensor, response_mask_NT: Tensor) -> Tensor:
    # Masked before exp: padding must not overflow, its gradient would be NaN even at weight 0.
    return log_ratios_NT.masked_fill(response_mask_NT == 0, 0.0)
