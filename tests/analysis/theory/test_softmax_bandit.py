"""The closed moments of a bandit's group gradient against all K^G outcomes."""

import itertools

import numpy as np
import pytest
import torch

from analysis.theory.expected_advantage import prompt_weight
from analysis.theory.softmax_bandit import group_gradient, minibatch_variance
from twogrpo.core.advantages import standardised_population

LOGITS = np.array([0.3, -0.5, 1.1])
IS_CORRECT = np.array([True, False, False])


def enumerated(group_size: int) -> tuple[np.ndarray, float]:
    """Mean and trace of the covariance by summing over every outcome."""
    policy = np.exp(LOGITS) / np.exp(LOGITS).sum()
    scores = np.eye(3) - policy
    mean, second = np.zeros(3), 0.0
    for pulls in itertools.product(range(3), repeat=group_size):
        probability = np.prod(policy[list(pulls)])
        rewards = torch.tensor(IS_CORRECT[list(pulls)][None].astype(float))
        advantages = standardised_population(rewards, epsilon=0.0)[0].numpy()
        gradient = (advantages[:, None] * scores[list(pulls)]).mean(axis=0)
        mean += probability * gradient
        second += probability * gradient @ gradient
    return mean, second - mean @ mean


@pytest.mark.parametrize("group_size", [2, 3, 5])
def test_moments_are_those_of_all_outcomes(group_size: int) -> None:
    moments = group_gradient(LOGITS, IS_CORRECT, group_size=group_size)
    mean, variance = enumerated(group_size)
    np.testing.assert_allclose(moments.mean_K, mean, rtol=0, atol=1e-12)
    assert moments.variance == pytest.approx(variance, abs=1e-12)
    assert variance > 0.01


@pytest.mark.parametrize("group_size", [2, 16])
def test_the_mean_is_the_prompt_weight_times_the_gradient_of_p(group_size: int) -> None:
    policy = np.exp(LOGITS) / np.exp(LOGITS).sum()
    p = policy[0]
    gradient_of_p = p * (np.eye(3)[0] - policy)
    moments = group_gradient(LOGITS, IS_CORRECT, group_size=group_size)
    expected = prompt_weight(group_size, p) * gradient_of_p
    np.testing.assert_allclose(moments.mean_K, expected, rtol=0, atol=1e-12)


def test_minibatch_variance_by_hand() -> None:
    # Two prompts with means (1, 0, 0) and (0, 1, 0): their mean (1/2, 1/2, 0) has squared norm 1/2
    # and is at squared distance 1/2 of each. Their own variances 0.2 and 0.6 average to 0.4.
    moments = [group_gradient(LOGITS, IS_CORRECT, group_size=2) for _ in range(2)]
    moments = [type(m)(np.eye(3)[i], (0.2, 0.6)[i]) for i, m in enumerate(moments)]
    assert minibatch_variance(moments, num_prompts=4) == pytest.approx((0.1, 0.125, 0.5))
