"""DPO: its loss, and the advantages whose objective has the same gradient. Pure.

The gradient of a pair's DPO loss is −β σ(r̂(o−) − r̂(o+)) · (∇log π_θ(o+) − ∇log π_θ(o−)) (Rafailov
et al. 2023, 2305.18290, after Eq. 7). So DPO is: advantage ±β σ(…), held fixed; surrogate
`log_likelihood`; aggregation `sequence_mean_of_token_sums`. The advantages need the log-probability
sums of both rollouts of a pair; once they are known, each rollout can go through the model in any
micro-batch. Its entry in `ADVANTAGES` is in twogrpo/core/advantages.py.

P prompts, G rollouts each. Pair weights [P, G, G] hold at (i, j) how much "i over j" counts. Those
of a group with signal sum to 1, those of a zero-variance group to 0; zero-variance groups stay in
the mean over prompts.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def preference_over_all_pairs(rewards_PG: Tensor) -> Tensor:
    """Every pair of a better and a worse rollout with equal weight.

    >>> import torch
    >>> preference_over_all_pairs(torch.tensor([[1.0, 0.0, 0.0]]))
    tensor([[[0.0000, 0.5000, 0.5000],
             [0.0000, 0.0000, 0.0000],
             [0.0000, 0.0000, 0.0000]]])
    """
    is_pair_PGG = (rewards_PG[:, :, None] > rewards_PG[:, None, :]).to(rewards_PG.dtype)
    return is_pair_PGG / is_pair_PGG.sum(dim=(1, 2), keepdim=True).clamp_min(1)


def dpo_loss(log_ratios_PG: Tensor, pair_weights_PGG: Tensor, *, beta: float) -> Tensor:
    """−mean over prompts of Σ_pairs w log σ(r̂(o+) − r̂(o−)), r̂ = β log(π_θ/π_ref).

    Rafailov et al. 2023 (2305.18290), Eq. 7. `log_ratios_PG` are the sums over tokens of
    log π_θ − log π_ref. Without any pair the loss is 0.
    """
    margins_PGG = beta * (log_ratios_PG[:, :, None] - log_ratios_PG[:, None, :])
    return -(pair_weights_PGG * F.logsigmoid(margins_PGG)).sum(dim=(1, 2)).mean()


def preference_advantages(
    log_ratios_PG: Tensor, pair_weights_PGG: Tensor, *, beta: float
) -> Tensor:
    """A_i such that (1/(P·G)) Σ_i A_i ∇log π_θ(o_i) is minus the gradient of `dpo_loss`, [P, G].

    A_i = G β (Σ_j w_ij σ(r̂_j − r̂_i) − Σ_j w_ji σ(r̂_i − r̂_j)). They sum to 0 over a group; at
    π_θ = π_ref those of a mixed pair are ±β.

    >>> import torch
    >>> weights = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    >>> preference_advantages(torch.zeros(1, 2), weights, beta=0.5)
    tensor([[ 0.5000, -0.5000]])
    """
    margins_PGG = beta * (log_ratios_PG[:, :, None] - log_ratios_PG[:, None, :])
    pull_PGG = beta * pair_weights_PGG * torch.sigmoid(-margins_PGG)
    return log_ratios_PG.shape[1] * (pull_PGG.sum(dim=2) - pull_PGG.sum(dim=1))
