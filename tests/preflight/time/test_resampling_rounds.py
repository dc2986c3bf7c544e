"""Same-prompt resampling: by hand, against draws, and as the loop draws it."""

import math

import numpy as np
import pytest

from twogrpo.preflight.time.resampling_rounds import same_prompt_rounds
from twogrpo.preflight.zero_variance import Beta


def test_one_rate_for_all_by_hand():
    """p = 0.5 and pairs: half are dead; of 4 draws 1 + 1/2 + 1/4 + 1/8, and 1/16 stays dead."""
    rounds = same_prompt_rounds(Beta(math.inf, math.inf, 0.5), 2, 4)
    assert rounds == [1, 0.5, 0.25, 0.125, 0.0625]


def test_rounds_are_those_of_drawn_prompts():
    """A million rates of Beta(2, 0.5), d of each: the mean powers, and the sum in closed form."""
    rates = np.random.default_rng(0).beta(2.0, 0.5, size=1_000_000)
    dead = rates**2 + (1 - rates) ** 2
    rounds = same_prompt_rounds(Beta(2.0, 0.5, 0.8), 2, 8)
    assert rounds == pytest.approx([(dead**j).mean() for j in range(9)], rel=2e-3)
    assert sum(rounds[:8]) == pytest.approx(((1 - dead**8) / (1 - dead)).mean(), rel=2e-3)
    assert rounds[1] == pytest.approx(Beta(2.0, 0.5, 0.8).dead_share(2))
    assert rounds[8] > rounds[1] ** 8  # what is dead once is more often dead again
