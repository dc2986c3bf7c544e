"""Aggregation: the weight of a token in the objective of an optimiser step. Pure.

The weights are computed once from the lengths of *all* B rollouts of the mini-batch, including
those of advantage 0, and the objective is the weighted sum of the surrogate over tokens. So
micro-batches, padding, packing and ranks only split that sum and cannot change the gradient.

Each function takes the response lengths in tokens, [B], and returns the weight of every token of
each rollout, [B], in float64. An empty response has weight 0. To add one, write its function and
its entry in `AGGREGATIONS`.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

AggregationFunction = Callable[..., Tensor]


def sequence_mean_of_token_means(response_lengths_B: Tensor, *, max_response_tokens: int) -> Tensor:
    """1 / (B · |o_i|): the mean over rollouts of the mean over tokens, the paper's GRPO objective.

    >>> import torch
    >>> sequence_mean_of_token_means(torch.tensor([2, 4]), max_response_tokens=8)
    tensor([0.2500, 0.1250], dtype=torch.float64)
    """
    num_rollouts = len(response_lengths_B)
    weights_B = 1.0 / (num_rollouts * response_lengths_B.clamp_min(1).double())
    return weights_B.masked_fill(response_lengths_B == 0, 0.0)


def token_mean(response_lengths_B: Tensor, *, max_response_tokens: int) -> Tensor:
    """1 / Σ_i |o_i|: every token of the mini-batch has the same weight (DAPO, 2503.14476, Eq. 12).

    >>> import torch
    >>> token_mean(torch.tensor([2, 6]), max_response_tokens=8)
    tensor([0.1250, 0.1250], dtype=torch.float64)
    """
    return (response_lengths_B > 0).double() / response_lengths_B.sum().clamp_min(1)


def sequence_mean_of_fixed_length(
    response_lengths_B: Tensor, *, max_response_tokens: int
) -> Tensor:
    """1 / (B · L) with L = max_response_tokens: no length bias (Dr. GRPO, 2503.20783, §3.2).

    >>> import torch
    >>> sequence_mean_of_fixed_length(torch.tensor([2, 6]), max_response_tokens=8)
    tensor([0.0625, 0.0625], dtype=torch.float64)
    """
    num_rollouts = len(response_lengths_B)
    return (response_lengths_B > 0).double() / (num_rollouts * max_response_tokens)


def sequence_mean_of_token_sums(response_lengths_B: Tensor, *, max_response_tokens: int) -> Tensor:
    """1 / B: the mean over rollouts of the sum over tokens, as in DPO (2305.18290, Eq. 7).

    >>> import torch
    >>> sequence_mean_of_token_sums(torch.tensor([2, 6]), max_response_tokens=8)
    tensor([0.5000, 0.5000], dtype=torch.float64)
    """
    return (response_lengths_B > 0).double() / len(response_lengths_B)


AGGREGATIONS: dict[str, AggregationFunction] = {
    "sequence_mean_of_token_means": sequence_mean_of_token_means,
    "token_mean": token_mean,
    "sequence_mean_of_fixed_length": sequence_mean_of_fixed_length,
    "sequence_mean_of_token_sums": sequence_mean_of_token_sums,
}
