"""Lemma C.3 exactly: the variance of the mini-batch gradient on softmax bandits, by enumeration.

A prompt is a bandit of K arms with logits θ; some arms are correct (reward 1). Of G pulls k are
correct with a binomial probability, and given k the correct and the wrong pulls are independent, so
mean and covariance of (1/G) Σ A_i ∇log π(o_i) have closed forms, summed over k = 1 … G−1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class GradientMoments:
    """The mean [K] of a prompt's group gradient, and the trace of its covariance."""

    mean_K: np.ndarray
    variance: float


def group_gradient(
    logits_K: np.ndarray, is_correct_K: np.ndarray, *, group_size: int
) -> GradientMoments:
    """The exact moments of (1/G) Σ_i A_i ∇log π(o_i), A with population std and ε = 0."""
    policy_K = np.exp(logits_K - logits_K.max())
    policy_K /= policy_K.sum()
    success_rate = float(policy_K[is_correct_K].sum())
    correct = _score_moments(policy_K, is_correct_K)
    wrong = _score_moments(policy_K, ~is_correct_K)
    mean_K, second = np.zeros_like(policy_K), 0.0
    for k in range(1, group_size):
        probability = math.comb(group_size, k) * success_rate**k
        probability *= (1 - success_rate) ** (group_size - k)
        share = k / group_size
        # k A_correct = −(G−k) A_wrong = G sqrt(share (1 − share)).
        size = math.sqrt(share * (1 - share))
        mean_given_k_K = size * (correct.mean_K - wrong.mean_K)
        noise = size**2 * (correct.variance / k + wrong.variance / (group_size - k))
        mean_K += probability * mean_given_k_K
        second += probability * (float(mean_given_k_K @ mean_given_k_K) + noise)
    return GradientMoments(mean_K, second - float(mean_K @ mean_K))


def minibatch_variance(
    moments: list[GradientMoments], *, num_prompts: int
) -> tuple[float, float, float]:
    """The variance of the mean over Q drawn prompts in two parts, and the squared norm of its mean.

    The parts are (within prompts)/Q and (between prompts)/Q: a larger group lowers the first only.
    """
    within = float(np.mean([m.variance for m in moments])) / num_prompts
    means = np.stack([m.mean_K for m in moments])
    mean = means.mean(axis=0)
    between = float(((means - mean) ** 2).sum(axis=1).mean()) / num_prompts
    return within, between, float(mean @ mean)


def _score_moments(policy_K: np.ndarray, chosen_K: np.ndarray) -> GradientMoments:
    """The moments of ∇log π(o) = e_o − π for an arm o drawn from the policy within `chosen_K`."""
    conditional_K = np.where(chosen_K, policy_K, 0.0) / policy_K[chosen_K].sum()
    mean_K = conditional_K - policy_K
    # Var of e_o: Σ q (1 − q); subtracting the constant π changes nothing.
    return GradientMoments(mean_K, float((conditional_K * (1 - conditional_K)).sum()))
