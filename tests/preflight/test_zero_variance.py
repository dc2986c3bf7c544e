"""Zero-variance groups: values by hand, an enumeration, a simulation, and counts from a record."""

import itertools
import json
import math

import numpy as np
import pytest

from twogrpo.errors import ConfigError
from twogrpo.preflight.zero_variance import (
    ASSUMED,
    Beta,
    fit_beta,
    forecast,
    read_success_rates,
    zero_variance_share,
)
from twogrpo.training import loop


def test_zero_variance_share_by_hand():
    """4 of 8, pairs: (6 + 6)/28; 7 of 8, pairs: 21/28; all right: 1."""
    assert zero_variance_share(4, 8, 2) == pytest.approx(12 / 28)
    assert zero_variance_share(7, 8, 2) == pytest.approx(21 / 28)
    assert zero_variance_share(8, 8, 8) == zero_variance_share(0, 8, 4) == 1
    assert zero_variance_share(1, 8, 8) == 0
    with pytest.raises(ValueError, match="groups of 9"):
        zero_variance_share(4, 8, 9)


@pytest.mark.parametrize("correct", range(6))
@pytest.mark.parametrize("group_size", [1, 2, 3, 5])
def test_zero_variance_share_is_that_of_all_subsets(correct, group_size):
    rewards = [1] * correct + [0] * (5 - correct)
    subsets = list(itertools.combinations(rewards, group_size))
    dead = sum(len(set(subset)) == 1 for subset in subsets)
    assert zero_variance_share(correct, 5, group_size) == pytest.approx(dead / len(subsets))


@pytest.mark.parametrize("group_size", [2, 4, 8])
def test_zero_variance_share_is_unbiased(group_size):
    """Its mean over the binomial distribution of c is p^G + (1−p)^G."""
    p, n = 0.3, 8
    mean = sum(
        math.comb(n, c) * p**c * (1 - p) ** (n - c) * zero_variance_share(c, n, group_size)
        for c in range(n + 1)
    )
    assert mean == pytest.approx(p**group_size + (1 - p) ** group_size)


def test_beta_by_hand():
    """Uniform rates: E[p²] + E[(1−p)²] = 2/3, E[p³] + E[(1−p)³] = 1/2. What is assumed without
    success rates: 1 − 2·E[p(1−p)] = 1 − 2 · ab/((a+b)(a+b+1)) = 1 − 2/8.75."""
    assert Beta(1, 1).zero_variance_share(2) == pytest.approx(2 / 3)
    assert Beta(1, 1).zero_variance_share(3) == pytest.approx(1 / 2)
    assert ASSUMED.zero_variance_share(2) == pytest.approx(1 - 2 / 8.75)


def test_fit_finds_the_distribution_again():
    """2,000 prompts with rates from Beta(2, 0.5), 8 samples each: shares within 2 points."""
    random = np.random.default_rng(0)
    rates = random.beta(2, 0.5, size=2000)
    counts = [(int(c), 8) for c in random.binomial(8, rates)]
    fitted = fit_beta(counts)
    for group_size in (2, 16, 64):
        true = np.mean(rates**group_size + (1 - rates) ** group_size)
        assert fitted.zero_variance_share(group_size) == pytest.approx(true, abs=0.02)


def test_fit_of_equal_rates_and_of_rates_0_and_1():
    assert fit_beta([(4, 8)] * 10).zero_variance_share(4) == pytest.approx(0.125)
    assert fit_beta([(8, 8), (0, 8)]).zero_variance_share(16) == pytest.approx(1, abs=1e-6)
    with pytest.raises(ValueError, match="two samples"):
        fit_beta([(1, 1)])


def test_forecast_by_hand():
    """Two prompts, 4 and 8 of 8: pairs without signal (12/28 + 1)/2 = 5/7, with 2/7, 3.5 draws for
    one. The two shares differ by 4/7: standard error (4/7)/2. Groups of 4: (2/70 + 1)/2."""
    pair, four = forecast([(4, 8), (8, 8)], [2, 4], reference=(4, 32))
    assert pair.signal_share == pytest.approx(2 / 7)
    assert pair.error == pytest.approx(2 / 7)
    assert pair.draws_per_signal == pytest.approx(3.5)
    assert four.prompts_per_minibatch == pytest.approx(32)
    kept_4 = 1 - (2 / 70 + 1) / 2
    assert pair.prompts_per_minibatch == pytest.approx(32 * 4 * kept_4 / (2 * 2 / 7))
    (none,) = forecast([(8, 8)] * 3, [2])
    assert (none.signal_share, none.draws_per_signal) == (0, math.inf)
    assert none.prompts_per_minibatch == math.inf


def group(step: int, prompt: str, *rewards: float) -> str:
    return json.dumps({"step": step, "prompt_id": prompt, "rewards": rewards}) + "\n"


def test_success_rates_are_those_of_a_run_s_first_step(tmp_path):
    """A prompt that was drawn twice has the samples of both draws."""
    lines = [group(0, "a", 1, 0), group(0, "b", 1, 1), group(0, "a", 1, 1), group(1, "b", 0, 0)]
    (tmp_path / "rollouts.jsonl").write_text("".join(lines))
    assert read_success_rates(tmp_path) == [(3, 4), (2, 2)]


@pytest.mark.parametrize(
    "content",
    [None, "", "x", "[1]\n", "{}\n", group(1, "a", 1, 0), group(0, "a", 1), group(0, "a", 1, 0.5)],
)
def test_a_record_without_success_rates_is_refused_in_one_line(content, tmp_path):
    if content is not None:
        (tmp_path / "rollouts.jsonl").write_text(content)
    with pytest.raises(ConfigError, match="success_rates=") as caught:
        read_success_rates(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_run_s_own_record_is_read(make_run):
    """16 prompts, groups of 4; the right ones are those that the run's reward graded as right."""
    run = make_run("algorithm.group_size=4", "tracking.save_rollouts=true")
    row = loop.train_step(run, 0)
    counts = read_success_rates(run.record.folder)
    assert [n for _, n in counts] == [4] * 16
    assert sum(correct for correct, _ in counts) / 64 == pytest.approx(row["reward/mean"])
