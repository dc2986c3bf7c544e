"""pass@k for arbitrary counts: exact, monotone, and between the mean and one."""

from fractions import Fraction
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twogrpo.core.estimators import mean_at_k, pass_at_k

counts = st.integers(1, 64).flatmap(
    lambda n: st.tuples(st.integers(0, n), st.just(n), st.integers(1, n))
)


@given(counts)
def test_pass_at_k_is_the_share_of_subsets_with_a_correct_sample(drawn):
    """1 − C(n−c, k)/C(n, k), in exact fractions (Chen et al. 2021, 2107.03374, Eq. 1)."""
    correct, samples, k = drawn
    exact = 1 - Fraction(comb(samples - correct, k), comb(samples, k))
    assert pass_at_k(correct, samples, k) == pytest.approx(float(exact), abs=1e-12)


@given(counts)
def test_pass_at_k_grows_with_k_and_with_the_number_of_correct_samples(drawn):
    correct, samples, k = drawn
    value = pass_at_k(correct, samples, k)
    assert pass_at_k(correct, samples, 1) == pytest.approx(mean_at_k(correct, samples))
    assert mean_at_k(correct, samples) - 1e-12 <= value <= 1
    if k < samples:
        assert pass_at_k(correct, samples, k + 1) >= value - 1e-12
    if correct < samples:
        assert pass_at_k(correct + 1, samples, k) >= value - 1e-12
