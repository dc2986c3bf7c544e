"""Estimators: worked by hand, and against enumeration or a closed form."""

import itertools
import math

import pytest
import torch

from twogrpo.core.estimators import (
    discard_rate,
    discard_rate_of_mean,
    kept_rate_of_mean,
    kl_k3,
    mean_at_k,
    pass_at_k,
    powers_of_two,
)


def test_mean_at_k_is_the_share_of_correct_samples():
    assert mean_at_k(3, 4) == 0.75


@pytest.mark.parametrize("num_samples", [1, 4, 7])
def test_pass_at_k_equals_enumeration(num_samples):
    """The share of all k-subsets of the samples that contain a correct one."""
    for num_correct, k in itertools.product(range(num_samples + 1), range(1, num_samples + 1)):
        is_right = [True] * num_correct + [False] * (num_samples - num_correct)
        subsets = list(itertools.combinations(is_right, k))
        share = sum(map(any, subsets)) / len(subsets)
        assert pass_at_k(num_correct, num_samples, k) == pytest.approx(share, abs=1e-12)


def test_pass_at_one_is_mean_and_pass_at_all_is_any():
    assert pass_at_k(5, 32, 1) == pytest.approx(mean_at_k(5, 32))
    assert [pass_at_k(c, 32, 32) for c in (0, 1, 32)] == [0, 1, 1]


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda: pass_at_k(1, 4, 5), "k=5"),
        (lambda: pass_at_k(1, 4, 0), "k=0"),
        (lambda: pass_at_k(5, 4, 1), "num_correct=5"),
        (lambda: mean_at_k(-1, 4), "num_correct=-1"),
        (lambda: mean_at_k(0, 0), "num_samples=0"),
    ],
)
def test_impossible_counts_are_refused_with_name_and_value(call, problem):
    with pytest.raises(ValueError, match=problem):
        call()


def test_powers_of_two_end_with_the_largest_k():
    assert powers_of_two(32) == [1, 2, 4, 8, 16, 32]
    assert powers_of_two(1) == [1]
    assert powers_of_two(12) == [1, 2, 4, 8, 12]


def test_discard_rate_worked_by_hand():
    # Zero variance: all correct, all wrong. With signal: one of three correct.
    assert discard_rate([[1, 1, 1], [0, 0, 0], [0, 1, 0]]) == pytest.approx(2 / 3)
    assert math.isnan(discard_rate([]))


def test_discard_and_kept_rate_of_a_mean_worked_by_hand():
    # 0.7² + 0.3² = 0.49 + 0.09.
    assert discard_rate_of_mean(0.7) == pytest.approx(0.58)
    assert kept_rate_of_mean(0.7) == pytest.approx(0.42)
    # 0.7³ + 0.3³ = 0.343 + 0.027.
    assert discard_rate_of_mean(0.7, group_size=3) == pytest.approx(0.37)
    assert kept_rate_of_mean(0.7, group_size=3) == pytest.approx(0.63)


def test_discard_rate_of_the_mean_is_a_lower_bound_of_the_measured_rate():
    """Half the prompts always solved, half never: no group has signal; the mean predicts half."""
    groups = [[1, 1], [0, 0]]
    assert discard_rate(groups) == 1
    assert discard_rate_of_mean(0.5) == 0.5


def test_kl_estimate_has_the_divergence_as_its_mean():
    """Σ π (e^d − 1 − d) with d = log π_ref − log π is Σ π log(π/π_ref), as Σ π_ref = 1."""
    policy, reference = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.8, 0.1, 0.1])
    drawn = torch.tensor([0] * 5 + [1] * 3 + [2] * 2)  # in the proportions of the policy
    divergence = (policy * (policy / reference).log()).sum().item()
    assert kl_k3(policy.log()[drawn], reference.log()[drawn]).item() == pytest.approx(divergence)
    # The reverse KL has another value, so exchanged arguments cannot pass.
    assert (reference * (reference / policy).log()).sum().item() != pytest.approx(
        divergence, rel=0.1
    )


def test_kl_estimate_of_one_token_worked_by_hand():
    # d = log ½ − log ¼ = log 2: 2 − 1 − log 2.
    estimate = kl_k3(torch.tensor([0.25]).log(), torch.tensor([0.5]).log())
    assert estimate.item() == pytest.approx(1 - math.log(2))


def test_kl_of_no_tokens_is_zero():
    assert kl_k3(torch.empty(0), torch.empty(0)).item() == 0
