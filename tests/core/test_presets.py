"""The conventions of other trainers, worked by hand; at G = 2 they differ only by a constant."""

import pytest
import torch

from twogrpo.core.advantages import (
    ADVANTAGES,
    class_balanced,
    leave_one_out_standardised,
    standardised_population,
    standardised_sample,
)

# The advantage and its ε. The paper does not give its ε: here the limit 0.
PRESETS = {
    "paper": (standardised_population, 0.0),
    "verl": (standardised_sample, 1e-6),
    "trl": (standardised_sample, 1e-4),
    "nemo": (leave_one_out_standardised, 1e-6),  # NeMo RL
}

HALF_SQRT = 0.5 / 0.5**0.5  # 0.70711: deviation 1/2 over sample std sqrt(((1/2)² + (1/2)²)/1)


@pytest.mark.parametrize(
    ("preset", "on_the_pair"),
    [
        ("paper", 1.0),  # 1/2 over population std 1/2
        ("verl", 0.5 / (0.5**0.5 + 1e-6)),
        ("trl", 0.5 / (0.5**0.5 + 1e-4)),
        ("nemo", 1.0),  # 1 − 0; the other's deviation is 0, so nothing is divided
    ],
)
def test_mixed_pair(preset: str, on_the_pair: float) -> None:
    function, epsilon = PRESETS[preset]
    advantages = function(torch.tensor([[1.0, 0.0], [0.0, 0.0]]).double(), epsilon=epsilon)
    expected = torch.tensor([[on_the_pair, -on_the_pair], [0, 0]], dtype=torch.float64)
    torch.testing.assert_close(advantages, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("preset", "correct", "wrong"),
    [
        # Rewards 1, 1, 0, 0 minus 1/2; population std 1/2.
        ("paper", 1.0, -1.0),
        # Sample std sqrt(4 · (1/2)² / 3) = sqrt(1/3).
        ("verl", 0.5 / ((1 / 3) ** 0.5 + 1e-6), -0.5 / ((1 / 3) ** 0.5 + 1e-6)),
        ("trl", 0.5 / ((1 / 3) ** 0.5 + 1e-4), -0.5 / ((1 / 3) ** 0.5 + 1e-4)),
        # The others of a correct rollout are 1, 0, 0: mean 1/3, population std sqrt(2)/3.
        ("nemo", (2 / 3) / (2**0.5 / 3 + 1e-6), -(2 / 3) / (2**0.5 / 3 + 1e-6)),
    ],
)
def test_balanced_group_of_four(preset: str, correct: float, wrong: float) -> None:
    function, epsilon = PRESETS[preset]
    advantages = function(torch.tensor([[1.0, 0.0, 1.0, 0.0]]).double(), epsilon=epsilon)
    expected = torch.tensor([[correct, wrong, correct, wrong]], dtype=torch.float64)
    torch.testing.assert_close(advantages, expected, rtol=0, atol=1e-10)


def test_the_only_correct_rollout_under_nemo_is_not_divided() -> None:
    # Correct rollout: the others are 0, 0, 0, baseline 0, std 0, so A = 1.
    # Wrong rollout: the others are 1, 0, 0, so A = −1/3 over sqrt(2)/3.
    function, epsilon = PRESETS["nemo"]
    advantages = function(torch.tensor([[1.0, 0.0, 0.0, 0.0]]).double(), epsilon=epsilon)
    wrong = -(1 / 3) / (2**0.5 / 3 + epsilon)
    expected = torch.tensor([[1.0, wrong, wrong, wrong]], dtype=torch.float64)
    torch.testing.assert_close(advantages, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", [n for n, a in ADVANTAGES.items() if a.refresh is None])
def test_at_two_rollouts_all_conventions_agree_up_to_a_constant(name: str) -> None:
    torch.manual_seed(0)
    rewards = (torch.rand(64, 2) < 0.4).double()
    advantages = ADVANTAGES[name].from_rewards(rewards, epsilon=0.0)
    constant = advantages.abs().max()
    assert constant > 0
    torch.testing.assert_close(
        advantages / constant, class_balanced(rewards) / 2, rtol=0, atol=1e-10
    )
