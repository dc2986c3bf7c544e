"""Advantages: values worked by hand, then properties of every one of them."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from twogrpo.core.advantages import (
    ADVANTAGES,
    centred,
    class_balanced,
    leave_one_out,
    standardised_population,
    standardised_sample,
)

# The advantages that the rewards alone decide; the others are in test_dpo.py.
FUNCTIONS = {name: a.from_rewards for name, a in ADVANTAGES.items() if a.refresh is None}
QUARTER_RIGHT = torch.tensor([[1.0, 0.0, 0.0, 0.0]])


def close(actual: torch.Tensor, expected: list[float]) -> None:
    torch.testing.assert_close(actual, torch.tensor([expected]), atol=1e-6, rtol=0)


def test_values_worked_by_hand_with_one_of_four_correct():
    # Mean 1/4, deviations 3/4 and -1/4, squares 9/16 + 3 * 1/16 = 12/16.
    # Population: variance 12/64 = 3/16, std sqrt(3)/4: so sqrt(3) and -1/sqrt(3).
    close(standardised_population(QUARTER_RIGHT, epsilon=0.0), [3**0.5] + 3 * [-(3**-0.5)])
    # Sample: variance 12/48 = 1/4, std 1/2: 3/2 and -1/2.
    close(standardised_sample(QUARTER_RIGHT, epsilon=0.0), [1.5, -0.5, -0.5, -0.5])
    close(centred(QUARTER_RIGHT), [0.75, -0.25, -0.25, -0.25])
    # The mean of the others: 0 for the correct rollout, 1/3 for a wrong one.
    close(leave_one_out(QUARTER_RIGHT), [1.0] + 3 * [-1 / 3])
    # 1/p = 4 and -1/(1-p) = -4/3.
    close(class_balanced(QUARTER_RIGHT), [4.0] + 3 * [-4 / 3])


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("standardised_population", 1.0),  # ½ / ½, the paper
        ("standardised_sample", 0.5**0.5),  # ½ / sqrt(½)
        ("centred", 0.5),
        ("leave_one_out", 1.0),
        ("class_balanced", 2.0),
    ],
)
def test_a_mixed_pair_is_plus_and_minus_the_documented_size(name, size):
    pair = torch.tensor([[0.0, 1.0]])
    close(FUNCTIONS[name](pair, epsilon=0.0), [-size, size])


def test_epsilon_is_added_to_the_deviation():
    # Deviation ½ + ε ½ = 1: ½ / 1.
    close(standardised_population(torch.tensor([[1.0, 0.0]]), epsilon=0.5), [0.5, -0.5])
    # Sample deviation sqrt(½) + ε.
    size = 0.5 / (math.sqrt(0.5) + 0.5)
    close(standardised_sample(torch.tensor([[1.0, 0.0]]), epsilon=0.5), [size, -size])


@given(
    st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=16),
    st.sampled_from(sorted(set(FUNCTIONS) - {"leave_one_out_standardised"})),
    st.randoms(use_true_random=False),
)
def test_advantages_of_a_group_sum_to_zero_and_permute_with_it(rewards, name, random):
    advantages = FUNCTIONS[name](torch.tensor([rewards]), epsilon=1e-6)[0]
    assert abs(advantages.sum().item()) < 1e-4 * len(rewards)
    order = random.sample(range(len(rewards)), len(rewards))
    permuted = FUNCTIONS[name](torch.tensor([[rewards[i] for i in order]]), epsilon=1e-6)[0]
    torch.testing.assert_close(permuted, advantages[order], atol=1e-5, rtol=1e-5)


@given(
    st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=16).filter(lambda r: len(set(r)) > 1)
)
def test_class_balanced_is_standardised_over_the_standard_deviation(rewards):
    """CTR-GRPO is GRPO without the weight sqrt(p(1-p)) of a group (the paper, v2)."""
    rewards_PG = torch.tensor([rewards])
    p = sum(rewards) / len(rewards)
    standardised = standardised_population(rewards_PG, epsilon=0.0)
    torch.testing.assert_close(class_balanced(rewards_PG), standardised / (p * (1 - p)) ** 0.5)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
@pytest.mark.parametrize("reward", [0.0, 1.0])
@pytest.mark.parametrize("group_size", [2, 3, 7, 16])
def test_equal_rewards_have_advantage_exactly_zero(name, reward, group_size):
    advantages = FUNCTIONS[name](torch.full((2, group_size), reward), epsilon=0.0)
    assert advantages.tolist() == [[0.0] * group_size] * 2


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - {"class_balanced"}))
def test_equal_rewards_leave_no_rounding_residue(name):
    # The float32 mean of seven times 0.1 is not 0.1.
    assert FUNCTIONS[name](torch.full((1, 7), 0.1), epsilon=0.0).tolist() == [[0.0] * 7]


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - {"standardised_without_zero_variance"}))
def test_a_group_is_independent_of_the_other_groups(name):
    groups = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
    alone = torch.cat([FUNCTIONS[name](group[None], epsilon=1e-6) for group in groups])
    torch.testing.assert_close(FUNCTIONS[name](groups, epsilon=1e-6), alone)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
@pytest.mark.parametrize("shape", [(4, 1), (4,), (2, 2, 2)])
def test_rewards_that_are_not_groups_of_two_or_more_are_refused(name, shape):
    with pytest.raises(ValueError, match=r"need \[prompts, group_size\]"):
        FUNCTIONS[name](torch.ones(shape), epsilon=1e-6)


def test_class_balanced_refuses_rewards_between_zero_and_one():
    with pytest.raises(ValueError, match=r"algorithm\.advantage=class_balanced.*use"):
        class_balanced(torch.tensor([[0.5, 1.0]]))


def test_every_entry_is_named_after_its_function():
    assert all(entry.from_rewards.__name__ == name for name, entry in ADVANTAGES.items())


@pytest.mark.parametrize("p", [0.1, 0.5, 0.7])
def test_expected_advantage_of_a_pair_is_reward_minus_success_rate(p):
    """E[A | r] = r − p, Prop. C.1 of the paper at G = 2, enumerating the other rollout's reward."""
    for reward in (0.0, 1.0):
        pairs = torch.tensor([[reward, 0.0], [reward, 1.0]])
        mine = standardised_population(pairs, epsilon=0.0)[:, 0]
        assert ((1 - p) * mine[0] + p * mine[1]).item() == pytest.approx(reward - p, abs=1e-6)
