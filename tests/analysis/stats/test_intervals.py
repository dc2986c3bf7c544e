"""Intervals: values worked by hand, pairing, coverage."""

import re
from itertools import product

import numpy as np
import pandas as pd
import pytest

from analysis.exhibits.claim_table import verdict
from analysis.paper.claim_metrics import spread
from analysis.stats.coverage import (
    FURTHER,
    QUANTITIES,
    SEEDS,
    Quantity,
    coverage,
    coverage_of_times,
    means,
)
from analysis.stats.intervals import Scores, Statistic, mean, of_seeds, scores, seed_range
from tests.conftest import ROOT

PAGE = ROOT / "docs/choices.md"


def arm(scores_SN: list[list[float]], name: str = "arm") -> Scores:
    matrix = np.array(scores_SN)
    problems = {"b": tuple(map(str, range(matrix.shape[1])))}
    return Scores(name, problems, {"b": matrix})


def frame(correct: dict[tuple[int, str], int], num_samples: int = 4) -> pd.DataFrame:
    rows = [
        {"seed": seed, "benchmark": "b", "problem_id": problem, "num_correct": count}
        for (seed, problem), count in correct.items()
    ]
    return pd.DataFrame(rows).assign(num_samples=num_samples)


def test_scores_by_hand_and_seeds_on_other_problems_are_refused() -> None:
    rows = frame({(0, "x"): 1, (0, "y"): 4, (1, "x"): 0, (1, "y"): 2})
    np.testing.assert_allclose(scores(rows).scores_SN["b"], [[25, 100], [0, 50]])
    # Pass@2 of 1 in 4: 1 − C(3,2)/C(4,2) = 1/2; of 2 in 4: 1 − 1/6.
    np.testing.assert_allclose(scores(rows, 2).scores_SN["b"], [[50, 100], [0, 100 * 5 / 6]])
    with pytest.raises(ValueError, match="not evaluated on the same problems"):
        scores(frame({(0, "x"): 1, (1, "y"): 1}))
    other = frame({(1, "x"): 1}).assign(benchmark="of seed 1 alone")
    with pytest.raises(ValueError, match="not evaluated on the same problems"):
        scores(pd.concat([frame({(0, "x"): 1, (1, "x"): 1}), other]))


def test_average_is_unweighted_over_benchmarks() -> None:
    values = {"a": np.array([[100.0]]), "b": np.array([[0.0, 0.0, 0.0]])}
    two = Scores("arm", {"a": ("1",), "b": ("1", "2", "3")}, values)
    assert two.average().value == 50  # not 25, which the four problems would give


def test_two_sources_of_variance_by_hand() -> None:
    # Rows are seeds. Means: of seeds 20, 26; of problems 10, 23, 36; the whole 23; the rests ±3,
    # 0. V_seeds = 18/2 = 9, V_problems = 169/3, V_both = (4 · 9 / 2) / 6 = 3: V = 9 + 169/3 − 3.
    # Degrees of freedom: V² / (9²/1 + (169/3)²/2) = 2.328, t = 3.77; wider than √9 · 12.7 = 38.1
    # is neither: √62.33 · 3.77 = 29.8. So Welch's it is.
    found = arm([[10.0, 20.0, 30.0], [10.0, 26.0, 42.0]]).average()
    free = Statistic(found.value, found.influences).interval()  # not cut
    assert (free.low, free.high) == pytest.approx((23 - 38.12, 23 + 38.12), abs=0.01)
    assert found.interval().low == 0  # percent
    # At 50 % t is 1 with one degree and 0.80 with 2.328: the two sources give the wider one.
    assert found.interval(0.5).high == pytest.approx(23 + 0.7965 * 62.333**0.5, abs=0.02)


def test_one_number_a_seed_has_students_interval_and_one_seed_none() -> None:
    # 10, 12, 14: standard error 2/√3, t of 2 degrees 4.303.
    found = of_seeds("arm", [10.0, 12.0, 14.0]).interval()
    assert (found.low, found.high) == pytest.approx((12 - 4.968, 12 + 4.968), abs=1e-3)
    assert np.isnan([of_seeds("arm", [10.0]).interval().low]).all()
    assert vars(seed_range([3.0, 1.0, 2.0])) == {"value": 2.0, "low": 1.0, "high": 3.0}


def test_a_ratio_is_that_of_welch_by_the_delta_method() -> None:
    # 10 ± 1 over 20 ± 1 (standard errors, 2 degrees each): variance 1/400 + 0.25/400 of 0.5,
    # degrees (1.25)² / (1/2 + 0.0625/2) = 2.941, t = 3.219.
    step = 3**0.5
    one = of_seeds("one", [10 - step, 10.0, 10 + step])
    other = of_seeds("other", [20 - step, 20.0, 20 + step])
    found = (one / other).interval()
    assert found.high - found.value == pytest.approx(3.219 * (1.25 / 400) ** 0.5, rel=2e-3)


def test_equal_arms_have_no_difference_and_ratio_one_exactly() -> None:
    one = arm(np.random.default_rng(1).uniform(0, 100, (2, 30)).tolist()).average()
    assert set(vars((one - one).interval()).values()) == {0.0}
    assert set(vars((one / one).interval()).values()) == {1.0}


def test_pairing_cancels_what_the_arms_share() -> None:
    # Problems differ by up to 100 points, the arms by exactly 5 on each: the paired interval is
    # the point 5, while each arm's own interval is wide.
    shared = np.random.default_rng(2).uniform(0, 90, (1, 40))
    better, worse = (arm((shared + shift).tolist(), str(shift)).average() for shift in (5, 0))
    difference = (better - worse).interval()
    assert difference.low == pytest.approx(5) and difference.high == pytest.approx(5)
    assert better.interval().high - better.interval().low > 10


def test_settings_share_their_problems_and_not_their_seeds() -> None:
    """A second setting that scores alike on the same problems tells nothing new about them."""
    values = np.random.default_rng(2).uniform(0, 100, (1, 40)).tolist()
    one, other = (arm(values, name).average() for name in ("one", "other"))
    assert vars(mean([one, other]).interval()) == pytest.approx(vars(one.interval()))
    one, other = (of_seeds(name, [1.0, 2.0, 3.0]) for name in ("one", "other"))
    assert mean([one, other]).interval().high < one.interval().high


def test_one_seed_of_either_arm_gives_a_ratio_of_times_no_interval() -> None:
    one, three = of_seeds("one", [47.0]), of_seeds("three", [5.7, 5.8, 5.9])
    for ratio in (three / one, one / three):
        assert np.isnan(ratio.interval().low) and np.isnan(ratio.interval().high)


def test_interval_agrees_with_the_normal_one() -> None:
    # One seed, 400 problems of a fair coin: ±1.966 × 50/√399 = ±4.92 points.
    values = np.repeat([[0.0, 100.0]], 200, axis=0).reshape(1, -1)
    estimate = arm(values.tolist()).average().interval()
    assert estimate.value == 50
    assert estimate.high - estimate.low == pytest.approx(2 * 4.92, rel=0.002)


@pytest.mark.slow
@pytest.mark.parametrize("quantities", [QUANTITIES, FURTHER], ids=["usual", "further"])
@pytest.mark.parametrize(("name", "num_seeds"), list(product([*SEEDS][::2], (3, 5))))
def test_intervals_hold_the_truth_as_often_as_the_page_says(
    quantities: dict[str, Quantity], name: str, num_seeds: int
) -> None:
    """Of Mean@n within two points of the level, whichever noise is the greater."""
    found = coverage(SEEDS[name], num_seeds, quantities=quantities, methods={"ours": means})
    head = r" \| ".join(map(re.escape, quantities))
    pattern = rf"\| {head} \|$.*?^\| {name} \| {num_seeds} \| (.*?) \|$"
    [row] = re.findall(pattern, PAGE.read_text(encoding="utf-8"), flags=re.M | re.S)
    for (quantity, (_, level)), said in zip(quantities.items(), row.split("|"), strict=True):
        share = found[quantity, "ours"]
        assert share == pytest.approx(float(said.split("(")[0]), abs=0.15), quantity
        if not quantity.startswith("Pass"):
            assert share == pytest.approx(100 * level, abs=2.0), quantity


@pytest.mark.parametrize("score", [0.0, 100.0])
def test_scores_that_are_all_alike_have_no_interval(score: float) -> None:
    alike, other = arm([[score] * 5] * 3, "alike").average(), arm([[0, 50, 100]] * 3).average()
    assert np.isnan([alike.interval().low, alike.interval().high]).all()
    assert str(alike.interval()) == f"{score:.1f}"
    assert mean([alike, other]).interval().low < mean([alike, other]).value  # of the other's noise


@pytest.mark.parametrize(("num_seeds", "range_holds"), [(3, 75.0), (5, 93.75)])
def test_times_have_their_level_and_a_range_has_not(num_seeds: int, range_holds: float) -> None:
    found = coverage_of_times(num_seeds, num_draws=6000)
    assert found["time share"] == pytest.approx(95, abs=2)
    assert found["range of the seeds"] == pytest.approx(range_holds, abs=1.5)  # 1 − 2^(1−S)


def test_the_spread_of_arms_is_judged_by_all_pairs() -> None:
    # Seeds alike: the intervals are points; the greatest distance is 9.
    arms = [of_seeds(str(value), [value, value]) for value in (1.0, 4.0, 10.0)]
    assert set(vars(spread(*arms)).values()) == {9.0}
    noisy = [of_seeds(str(i), [0.0, 1.0, 2.0]) for i in range(3)]
    assert spread(*noisy).low == 0
    assert spread(*noisy).high > (noisy[0] - noisy[1]).interval().high  # three pairs, not one


@pytest.mark.parametrize(
    ("shift", "noise", "found"),
    [
        (0.0, 0, "reproduced"),
        (1.5, 0, "reproduced"),
        (2.5, 0, "not reproduced"),
        (0.0, 50, "inconclusive"),
    ],
)
def test_equivalence_within_two_points(shift: float, noise: float, found: str) -> None:
    rng = np.random.default_rng(4)
    base = rng.uniform(0, 100, (1, 50))
    shifted = base + shift + rng.normal(0, noise, (1, 50))
    one, other = arm(shifted.tolist(), "one").average(), arm(base.tolist(), "other").average()
    difference = (one - other).interval(level=0.90)
    assert verdict(difference.low, difference.high, -2, 2) == found


def test_a_ratio_to_nothing_is_no_number() -> None:
    nothing, something = of_seeds("nothing", [0.0, 0.0]), of_seeds("something", [1.0, 3.0])
    for one in (nothing, something):
        assert np.isnan(list(vars((one / nothing).interval()).values())).all()
