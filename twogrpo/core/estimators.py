"""Estimators: what is reported about samples. Pure; numbers and tensors in, numbers out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from torch import Tensor


def mean_at_k(num_correct: int, num_samples: int) -> float:
    """Mean@k of one problem: the share of its k samples that are right."""
    _check_counts(num_correct, num_samples)
    return num_correct / num_samples


def pass_at_k(num_correct: int, num_samples: int, k: int) -> float:
    """Unbiased probability that one of k samples is right: 1 − C(n−c, k) / C(n, k).

    Chen et al. 2021 (2107.03374), Eq. 1; as a product, which neither overflows nor cancels.

    >>> pass_at_k(1, 4, 2)  # 1 − C(3,2)/C(4,2) = 1 − 3/6
    0.5
    """
    _check_counts(num_correct, num_samples)
    if not 1 <= k <= num_samples:
        raise ValueError(f"pass@k with k={k} needs 1 <= k <= num_samples={num_samples}")
    num_wrong = num_samples - num_correct
    # The product has a factor 0 as soon as k > num_wrong: then some sample of every k is right.
    return 1.0 - math.prod(max(num_wrong - i, 0) / (num_samples - i) for i in range(k))


def powers_of_two(largest: int) -> list[int]:
    """1, 2, 4, … and `largest` itself: the k at which a curve of pass@k is drawn.

    >>> powers_of_two(12)
    [1, 2, 4, 8, 12]
    """
    powers = [1 << exponent for exponent in range(largest.bit_length())]
    return powers if powers[-1] == largest else [*powers, largest]


def kl_k3(policy_logps: Tensor, reference_logps: Tensor) -> Tensor:
    """Mean over tokens of e^d − 1 − d, d = log π_ref − log π, of tokens drawn from π.

    Unbiased for KL(π ‖ π_ref) and never negative (Schulman 2020, "Approximating KL Divergence").
    0 for no tokens.
    """
    if policy_logps.numel() == 0:
        return policy_logps.sum()
    delta = reference_logps - policy_logps
    return (delta.exp() - 1 - delta).mean()


def discard_rate(groups_of_rewards: Iterable[Sequence[float]]) -> float:
    """Measured share of groups whose rewards are all equal: they carry no gradient.

    >>> discard_rate([[1, 1], [1, 0], [0, 0], [0, 1]])
    0.5
    """
    is_dead = [len(set(rewards)) <= 1 for rewards in groups_of_rewards]
    return sum(is_dead) / len(is_dead) if is_dead else math.nan


def discard_rate_of_mean(success_rate: float, *, group_size: int = 2) -> float:
    """p^G + (1−p)^G: the discard rate if every prompt had the success rate p, rewards 0 or 1.

    Table 3 of the paper holds its value at G = 2 and p = r̄. A lower bound of the real rate
    (Jensen): the mean over prompts of p^G + (1−p)^G is at least its value at the mean of p.

    >>> discard_rate_of_mean(0.5)
    0.5
    >>> discard_rate_of_mean(0.5, group_size=3)
    0.25
    """
    return success_rate**group_size + (1 - success_rate) ** group_size


def kept_rate_of_mean(success_rate: float, *, group_size: int = 2) -> float:
    """1 − p^G − (1−p)^G: at G = 2 printed as the discard rate in App. D.3; it is the kept rate."""
    return 1.0 - discard_rate_of_mean(success_rate, group_size=group_size)


def _check_counts(num_correct: int, num_samples: int) -> None:
    if num_samples < 1 or not 0 <= num_correct <= num_samples:
        raise ValueError(f"num_correct={num_correct} of num_samples={num_samples} is impossible")
