"""Surrogates: the per-token objective of the policy, given π_old and the advantages. Pure.

To add one, write its function and its entry in `SURROGATES`. N sequences, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# (policy_logps_NT, old_logps_NT, *, advantages_N, response_mask_NT, clip_low, clip_high) -> [N, T]
SurrogateFunction = Callable[..., Tensor]


@dataclass(frozen=True)
class Surrogate:
    """A choice of `algorithm.surrogate`; `uses_old_logps`: π_old has to be computed for it."""

    function: SurrogateFunction
    uses_old_logps: bool


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

    Schulman et al. 2017 (1707.06347) Eq. 7 with one ratio per token (Shao et al. 2024, 2402.03300,
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
    """`token_ratio_clipped` with one ratio per sequence, the geometric mean of its token ratios.

    s = exp(mean_t log ρ_t), the same at every token: GSPO (Zheng et al. 2025, 2507.18071, Eq. 5–7).
    Every token has the gradient of s A. With truncated importance sampling the caps of the tokens'
    weights therefore act on a sequence as their mean, as in TRL; verl multiplies each token's own
    gradient by its own weight.
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
    """A log π_θ of each token, [N, T]: REINFORCE (Williams 1992), without a ratio or a clip.

    With a preference advantage (twogrpo/core/dpo.py) its gradient is DPO's.
    """
    return advantages_N[:, None] * _masked(policy_logps_NT, response_mask_NT)


SURROGATES = {
    "token_ratio_clipped": Surrogate(token_ratio_clipped, uses_old_logps=True),
    "sequence_ratio_clipped": Surrogate(sequence_ratio_clipped, uses_old_logps=True),
    "log_likelihood": Surrogate(log_likelihood, uses_old_logps=False),
}


def truncated_importance_weights(
    old_logps_NT: Tensor, sampler_logps_NT: Tensor, *, response_mask_NT: Tensor, cap: float
) -> Tensor:
    """min(π_old / π_sampler, C) of each token, 0 off the mask: a factor of the token's weight.

    Corrects for a sampler whose numerics differ from the trainer's (Yao et al. 2025, "Your
    Efficient RL Framework Secretly Brings You Off-Policy RL Training"). No gradient flows through
    it. It is 1 on every token where the two agree and C ≥ 1.
    """
    ratios_NT = _masked(old_logps_NT.detach() - sampler_logps_NT, response_mask_NT).exp()
    return ratios_NT.clamp(max=cap) * response_mask_NT


def _pessimistic(
    ratios: Tensor, advantages: Tensor, *, clip_low: float, clip_high: float
) -> Tensor:
    clipped = ratios.clamp(1 - clip_low, 1 + clip_high)
    return torch.minimum(ratios * advantages, clipped * advantages)


def _masked(log_ratios_NT: Tensor, response_mask_NT: Tensor) -> Tensor:
    # Masked before exp: if padding overflowed, its gradient would be NaN even at weight 0.
    return log_ratios_NT.masked_fill(response_mask_NT == 0, 0.0)
