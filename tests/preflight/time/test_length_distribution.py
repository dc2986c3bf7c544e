"""Response lengths: against draws, where all are cut, and by hand where none is."""

import numpy as np
import pytest

from twogrpo.preflight.time.length_distribution import (
    LENGTH_VARIATION,
    bisect,
    running_tokens,
    survival,
    uncut_mean,
)


@pytest.mark.parametrize(("mean", "longest"), [(800, 4096), (17, 24), (600, 610)])
def test_lengths_are_a_log_normal_cut_off(mean, longest):
    """A million draws of the mean before the cut have, after it, the mean that was asked for."""
    sigma = np.sqrt(np.log(1 + LENGTH_VARIATION**2))
    location = np.log(uncut_mean(mean, longest)) - sigma**2 / 2
    drawn = np.random.default_rng(0).lognormal(location, sigma, size=1_000_000)
    lengths = np.minimum(drawn, longest)
    assert lengths.mean() == pytest.approx(mean, rel=2e-3)
    for tokens in (0, mean / 8, mean, longest * 0.99):
        assert survival(tokens, mean, longest) == pytest.approx((lengths > tokens).mean(), abs=2e-3)
    running = (lengths**2).mean() / lengths.mean() / 2
    assert running_tokens(mean, longest) == pytest.approx(running, rel=4e-3)


def test_a_mean_of_the_longest_says_that_all_are():
    """Every response runs to the end, and holds half of it on the mean."""
    assert survival(23.9, 24, 24) == pytest.approx(1)
    assert running_tokens(24, 24) == pytest.approx(12)


def test_far_below_the_longest_nothing_is_cut():
    """A running one holds r (1 + cv²) / 2 = 100 · 1.64 / 2."""
    assert uncut_mean(100, 10**6) == pytest.approx(100)
    assert running_tokens(100, 10**6) == pytest.approx(82)


def test_bisect_of_a_falling_and_a_rising_function():
    assert bisect(lambda x: 1 / x, 0.25, low=1e-3, high=1e3) == pytest.approx(4)
    assert bisect(lambda x: x * x, 9.0, low=1e-3, high=1e3) == pytest.approx(3)
