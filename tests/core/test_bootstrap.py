"""The bootstrap over problems."""

import numpy as np
import pytest

from twogrpo.core.bootstrap import bootstrap_interval


def interval(values, **kwargs):
    return bootstrap_interval(values, np.random.default_rng(0), **kwargs)


def test_the_width_matches_the_normal_limit():
    # 400 problems, half correct: standard error sqrt(1/4/400) = 0.025, so 0.5 ± 1.96 · 0.025.
    values = np.repeat([0.0, 1.0], 200)[:, None]
    low, high = interval(values, num_resamples=20_000)[0]
    assert low == pytest.approx(0.5 - 1.96 * 0.025, abs=0.003)
    assert high == pytest.approx(0.5 + 1.96 * 0.025, abs=0.003)


def test_columns_of_a_problem_are_resampled_together():
    values = np.random.default_rng(1).random((30, 1))
    low_high = interval(np.hstack([values, 1 - values]))
    assert low_high[1] == pytest.approx(1 - low_high[0][::-1])


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(1).random((30, 2))
    assert (interval(values) == interval(values)).all()


def test_one_problem_gives_its_value_and_none_is_refused():
    assert interval([[0.25]]).tolist() == [[0.25, 0.25]]
    with pytest.raises(ValueError, match="no problem"):
        interval(np.empty((0, 1)))
