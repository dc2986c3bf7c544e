"""Estimators: the statistics that are reported about samples. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from torch import Tensor


def mean_at_k(num_correct: int, num_samples: int) -> float:
    """Mean@k of one problem: the share of its k samples that are correct."""
    _check_counts(num_correct, num_samples)
    return num_correct / num_samples


def pass_at_k(num_correct: int, num_samples: int, k: int) -> float:
    """Unbiased probability that one of k samples is correct: 1 − C(n−c, k) / C(n, k).

    Chen et al. 2021 (2107.03374), Eq. 1, as a product, which neither overflows nor cancels.

    >>> pass_at_k(1, 4, 2)  # 1 − C(3,2)/C(4,2) = 1 − 3/6
    0.5
    """
    _check_counts(num_correct, num_samples)
    if not 1 <= k <= num_samples:
        raise ValueError(f"pass@k with k={k} needs 1 <= k <= num_samples={num_samples}")
    num_wrong = num_samples - num_correct
    # If k > num_wrong, a factor is 0: any k samples contain a correct one.
    return 1.0 - math.prod(max(num_wrong - i, 0) / (num_samples - i) for i in range(k))


def powers_of_two(largest: int) -> list[int]:
    """1, 2, 4, … and `largest` itself: the values of k in a pass@k curve.

    >>> powers_of_two(12)
    [1, 2, 4, 8, 12]
    """
    powers = [1 << exponent for exponent in range(largest.bit_length())]
    return powers if powers[-1] == largest else [*powers, largest]


def kl_k3(policy_logps: Tensor, reference_logps: Tensor) -> Tensor:
    """The mean of e^d − 1 − d, d = log π_ref − log π, over tokens sampled from π.

    Unbiased for KL(π ‖ π_ref) and never negative (Schulman 2020, "Approximating KL Divergence").
    It is 0 without tokens.
    """
    if policy_logps.numel() == 0:
        return policy_logps.sum()
    delta = reference_logps - policy_logps
    return (delta.exp() - 1 - delta).mean()


def discard_rate(groups_of_rewards: Iterable[Sequence[float]]) -> float:
    """The measured share of zero-variance groups (all rewards equal), which carry no gradient.

    >>> discard_rate([[1, 1], [1, 0], [0, 0], [0, 1]])
    0.5
    """
    is_equal = [len(set(rewards)) <= 1 for rewards in groups_of_rewards]
    return sum(is_equal) / len(is_equal) if is_equal else math.nan


def discard_rate_of_mean(success_rate: float, *, group_size: int = 2) -> float:
    """p^G + (1−p)^G: the discard rate if every prompt had the success rate p, rewards 0 or 1.

    Table 3 of the paper gives its value at G = 2 and p = r̄. It is a lower bound of the actual rate
    (Jensen): the mean over prompts of p^G + (1−p)^G is at least its value at the mean of p.

    >>> discard_rate_of_mean(0.5)
    0.5
    >>> discard_rate_of_mean(0.5, group_size=3)
    0.25
    """
    return success_rate**group_size + (1 - success_rate) ** group_size


def kept_rate_of_mean(success_rate: float, *, group_size: int = 2) -> float:
    """1 − p^G − (1−p)^G, which App. D.3 (at G = 2) calls the discard rate; it is the kept rate."""
    return 1.0 - discard_rate_of_mean(success_rate, group_size=group_size)


def _check_counts(num_correct: int, num_samples: int) -> None:
    if num_samples < 1 or not 0 <= num_correct <= num_samples:
        raise ValueError(f"num_correct={num_correct} of num_samples={num_samples} is impossible")
