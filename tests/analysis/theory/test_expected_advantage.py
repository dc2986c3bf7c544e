"""Prop. C.1: enumeration against values by hand, both limits, and the gradient of a bandit."""

import math

import pytest

from analysis.theory.expected_advantage import expected_advantage, limits, prompt_weight

GRID = [0.01, 0.1, 0.3, 0.5, 0.77, 0.99]


def test_three_rollouts_by_hand() -> None:
    # r = 1 and p = 1/2. Others 00 (1/4): rewards 1,0,0: A = (2/3)/(sqrt(2)/3) = sqrt(2).
    # Others 10 or 01 (1/2): rewards 1,1,0: A = (1/3)/(sqrt(2)/3) = 1/sqrt(2). Others 11: 0.
    correct, wrong = expected_advantage(3, 0.5)
    assert correct == pytest.approx(math.sqrt(2) / 4 + 1 / math.sqrt(2) / 2, abs=1e-12)
    assert wrong == pytest.approx(-correct, abs=1e-12)  # by symmetry


@pytest.mark.parametrize("p", GRID)
def test_it_averages_to_zero_and_at_two_rollouts_is_the_reward_minus_p(p: float) -> None:
    assert expected_advantage(2, p) == pytest.approx((1 - p, -p), abs=1e-12)
    assert limits(p)["G = 2"] == (1 - p, -p)
    for group_size in (2, 5, 16, 64):
        correct, wrong = expected_advantage(group_size, p)
        assert p * correct + (1 - p) * wrong == pytest.approx(0, abs=1e-12)


def test_it_tends_to_the_standard_score() -> None:
    limit = limits(0.3)["G → ∞"]
    assert limit == pytest.approx((0.7 / math.sqrt(0.21), -0.3 / math.sqrt(0.21)))
    errors = [abs(expected_advantage(g, 0.3)[0] - limit[0]) for g in (8, 16, 32, 64, 256)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.01 * limit[0]


def test_large_groups_weigh_hard_prompts_more_and_two_grpo_all_alike() -> None:
    assert [prompt_weight(2, p) for p in GRID] == pytest.approx([1.0] * len(GRID))
    assert prompt_weight(16, 0.1) > 1.4 * prompt_weight(16, 0.5) > 1.4 * 1.9
