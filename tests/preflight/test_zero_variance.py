"""Dead groups from a probe: by hand, against enumeration, against simulation."""

import itertools
import json
import math

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from twogrpo.errors import ConfigError
from twogrpo.preflight.zero_variance import (
    ASSUMED,
    Beta,
    dead_share,
    fit_beta,
    forecast,
    read_probe,
)


def test_dead_share_by_hand():
    """4 of 8, pairs: (6 + 6)/28; 7 of 8, pairs: 21/28; all right: 1."""
    assert dead_share(4, 8, 2) == pytest.approx(12 / 28)
    assert dead_share(7, 8, 2) == pytest.approx(21 / 28)
    assert dead_share(8, 8, 8) == dead_share(0, 8, 4) == 1
    assert dead_share(1, 8, 8) == 0


@pytest.mark.parametrize("correct", range(6))
@pytest.mark.parametrize("group_size", [1, 2, 3, 5])
def test_dead_share_is_that_of_all_subsets(correct, group_size):
    rewards = [1] * correct + [0] * (5 - correct)
    subsets = list(itertools.combinations(rewards, group_size))
    dead = sum(len(set(subset)) == 1 for subset in subsets)
    assert dead_share(correct, 5, group_size) == pytest.approx(dead / len(subsets))


@pytest.mark.parametrize("group_size", [2, 4, 8])
def test_dead_share_is_unbiased(group_size):
    """Its mean over the binomial distribution of c is p^G + (1−p)^G."""
    p, n = 0.3, 8
    mean = sum(
        math.comb(n, c) * p**c * (1 - p) ** (n - c) * dead_share(c, n, group_size)
        for c in range(n + 1)
    )
    assert mean == pytest.approx(p**group_size + (1 - p) ** group_size)


def test_larger_groups_than_samples_have_no_unbiased_estimate():
    with pytest.raises(ValueError, match="groups of 9"):
        dead_share(4, 8, 9)


def test_beta_by_hand():
    """Uniform rates: E[p²] + E[(1−p)²] = 2/3, E[p³] + E[(1−p)³] = 1/2; one rate of 0.8: 0.68."""
    assert Beta(1, 1, 0.5).dead_share(2) == pytest.approx(2 / 3)
    assert Beta(1, 1, 0.5).dead_share(3) == pytest.approx(1 / 2)
    assert Beta(math.inf, math.inf, 0.8).dead_share(2) == pytest.approx(0.68)


def test_what_is_assumed_without_a_probe():
    """Pairs: 1 − 2·E[p(1−p)] = 1 − 2 · ab/((a+b)(a+b+1)) = 1 − 2/8.75."""
    assert ASSUMED.dead_share(2) == pytest.approx(1 - 2 / 8.75)
    assert pytest.approx(ASSUMED.a / (ASSUMED.a + ASSUMED.b)) == ASSUMED.mean


def test_fit_finds_the_distribution_again():
    """2,000 prompts with rates from Beta(2, 0.5), 8 samples each: shares within 2 points."""
    random = np.random.default_rng(0)
    rates = random.beta(2, 0.5, size=2000)
    counts = [(int(c), 8) for c in random.binomial(8, rates)]
    fitted = fit_beta(counts)
    for group_size in (2, 16, 64):
        true = np.mean(rates**group_size + (1 - rates) ** group_size)
        assert fitted.dead_share(group_size) == pytest.approx(true, abs=0.02)


def test_fit_of_equal_rates_and_of_dead_prompts():
    same = fit_beta([(4, 8)] * 10)
    assert math.isinf(same.a)
    assert same.dead_share(4) == pytest.approx(0.125)
    assert fit_beta([(8, 8), (0, 8)]).dead_share(16) == pytest.approx(1, abs=1e-6)
    with pytest.raises(ValueError, match="two samples"):
        fit_beta([(1, 1)])


def test_forecast_by_hand():
    """Two prompts, 4 and 8 of 8: dead pairs (12/28 + 1)/2 = 5/7, kept 2/7, 3.5 draws a kept one.

    Standard error: the two shares differ by 4/7, so it is (4/7)/2. Groups of 4: (2/70 + 1)/2 dead.
    """
    pair, four = forecast([(4, 8), (8, 8)], [2, 4], reference=(4, 32))
    assert pair.contrastive_share == pytest.approx(2 / 7)
    assert pair.error == pytest.approx(2 / 7)
    assert pair.draws_per_kept == pytest.approx(3.5)
    assert four.prompts_per_minibatch == pytest.approx(32)
    kept_4 = 1 - (2 / 70 + 1) / 2
    assert pair.prompts_per_minibatch == pytest.approx(32 * 4 * kept_4 / (2 * 2 / 7))


def test_forecast_where_nothing_is_mixed():
    (row,) = forecast([(8, 8)] * 3, [2])
    assert row.contrastive_share == 0
    assert row.draws_per_kept == row.prompts_per_minibatch == math.inf


def test_larger_groups_are_mixed_more_often():
    shares = [row.contrastive_share for row in forecast(ASSUMED, [2, 4, 8, 16])]
    assert shares == sorted(shares)
    assert len(set(shares)) == 4


def test_probe_files(tmp_path):
    rows = [
        {"benchmark": "a", "problem_id": name, "is_correct": right, "sample": i}
        for name, rights in {"1": [True, False, True], "2": [False] * 3}.items()
        for i, right in enumerate(rights)
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "samples.parquet")
    assert sorted(read_probe(tmp_path / "samples.parquet")) == [(0, 3), (2, 3)]
    (tmp_path / "probe.json").write_text(json.dumps({"1": [2, 3], "2": [0, 3]}))
    assert read_probe(tmp_path / "probe.json") == [(2, 3), (0, 3)]


@pytest.mark.parametrize(
    "content",
    [
        *("", "[1]", "{}", '{"1": [1]}', '{"1": [3, 2]}', '{"1": [1, 1]}', '{"1": [1, 8, 2]}'),
        *('{"1": [Infinity, 8]}', '{"1": "48"}', '{"1": [3.7, 8]}', '{"1": [true, 8]}'),
        '{"1": null}',
    ],
)
def test_a_bad_probe_is_named(content, tmp_path):
    (tmp_path / "probe.json").write_text(content)
    with pytest.raises(ConfigError, match="probe=") as caught:
        read_probe(tmp_path / "probe.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "columns",
    [
        {"a": [1]},
        {"benchmark": [], "problem_id": [], "is_correct": []},
        {"benchmark": ["b", "b"], "problem_id": ["1", "1"], "is_correct": ["yes", "no"]},
        {"benchmark": ["b", "b"], "problem_id": ["1", "1"], "is_correct": [None, True]},
    ],
)
def test_a_table_that_is_no_evaluation_s_is_named(columns, tmp_path):
    file = tmp_path / "samples.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), file)
    with pytest.raises(ConfigError, match="probe=") as caught:
        read_probe(file)
    assert "\n" not in str(caught.value)
    file.write_bytes(b"")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_probe(file)


def test_a_probe_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_probe(tmp_path / "nothing.parquet")
