"""DPO through the three choices: its loss, and the advantage that gives the same gradient. Pure.

The gradient of a pair's DPO loss is −β σ(r̂(o−) − r̂(o+)) · (∇log π_θ(o+) − ∇log π_θ(o−)) (Rafailov
et al. 2023, 2305.18290, after Eq. 7). So DPO is the row: advantage ±β σ(…), held fixed; surrogate
`log_likelihood`; aggregation `sequence_mean_of_token_sums`. The advantage needs the
log-probability sums of both rollouts; once it is known each can go through the model in any
micro-batch.

P prompts, G rollouts each. Pair weights [P, G, G] hold at (i, j) how much "i over j" counts; those
of a mixed group sum to 1, of a dead one to 0, and dead groups stay in the mean over prompts.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Pairing = Callable[..., Tensor]


def preference_over_all_pairs(rewards_PG: Tensor, *, uniforms_P: Tensor) -> Tensor:
    """Every pair of a better with a worse rollout, equally; `uniforms_P` is not used.

    >>> import torch
    >>> preference_over_all_pairs(torch.tensor([[1.0, 0.0, 0.0]]), uniforms_P=torch.zeros(1))
    tensor([[[0.0000, 0.5000, 0.5000],
             [0.0000, 0.0000, 0.0000],
             [0.0000, 0.0000, 0.0000]]])
    """
    is_pair_PGG = (rewards_PG[:, :, None] > rewards_PG[:, None, :]).to(rewards_PG.dtype)
    return is_pair_PGG / is_pair_PGG.sum(dim=(1, 2), keepdim=True).clamp_min(1)


def preference_over_one_random_pair(rewards_PG: Tensor, *, uniforms_P: Tensor) -> Tensor:
    """One pair a mixed group, drawn uniformly by a number in [0, 1) that the caller gives.

    >>> import torch
    >>> rewards_PG, uniforms_P = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([0.6])
    >>> preference_over_one_random_pair(rewards_PG, uniforms_P=uniforms_P)
    tensor([[[0., 0., 1.],
             [0., 0., 0.],
             [0., 0., 0.]]])
    """
    is_pair = (rewards_PG[:, :, None] > rewards_PG[:, None, :]).flatten(1)
    num_pairs_P = is_pair.sum(dim=1)
    chosen_P = (uniforms_P * num_pairs_P).long().clamp_max(num_pairs_P - 1)
    is_chosen = is_pair & (is_pair.cumsum(dim=1) == chosen_P[:, None] + 1)
    group_size = rewards_PG.shape[1]
    return is_chosen.unflatten(1, (group_size, group_size)).to(rewards_PG.dtype)


PAIRINGS: dict[str, Pairing] = {
    function.__name__: function
    for function in (preference_over_all_pairs, preference_over_one_random_pair)
}


def dpo_loss(log_ratios_PG: Tensor, pair_weights_PGG: Tensor, *, beta: float) -> Tensor:
    """−mean over prompts of Σ_pairs w log σ(r̂(o+) − r̂(o−)), r̂ = β log(π_θ/π_ref).

    Rafailov et al. 2023 (2305.18290), Eq. 7. `log_ratios_PG` are the sums over tokens of
    log π_θ − log π_ref. Without a pair the loss is 0.
    """
    margins_PGG = beta * (log_ratios_PG[:, :, None] - log_ratios_PG[:, None, :])
    return -(pair_weights_PGG * F.logsigmoid(margins_PGG)).sum(dim=(1, 2)).mean()


def preference_advantages(
    log_ratios_PG: Tensor, pair_weights_PGG: Tensor, *, beta: float
) -> Tensor:
    """A_i such that (1/(P·G)) Σ_i A_i ∇log π_θ(o_i) is minus the gradient of `dpo_loss`, [P, G].

    A_i = G β (Σ_j w_ij σ(r̂_j − r̂_i) − Σ_j w_ji σ(r̂_i − r̂_j)). It sums to 0 over a group; at
    π_θ = π_ref a mixed pair has ±β.

    >>> import torch
    >>> weights = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    >>> preference_advantages(torch.zeros(1, 2), weights, beta=0.5)
    tensor([[ 0.5000, -0.5000]])
    """
    margins_PGG = beta * (log_ratios_PG[:, :, None] - log_ratios_PG[:, None, :])
    pull_PGG = beta * pair_weights_PGG * torch.sigmoid(-margins_PGG)
    return log_ratios_PG.shape[1] * (pull_PGG.sum(dim=2) - pull_PGG.sum(dim=1))
