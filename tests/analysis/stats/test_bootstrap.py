"""Intervals: values worked by hand, pairing, coverage."""

import numpy as np
import pandas as pd
import pytest

from analysis.paper.claims import verdict
from analysis.stats.bootstrap import Bootstrap, Scores, combine, interval, scores


def arm(scores_SN: list[list[float]], seeds: tuple[int, ...] = (0, 1)) -> Scores:
    matrix = np.array(scores_SN)
    return Scores(seeds, {"b": tuple(map(str, range(matrix.shape[1])))}, {"b": matrix})


def bootstrap() -> Bootstrap:
    return Bootstrap(np.random.default_rng(0), num_replicates=4000)


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


def test_average_is_unweighted_over_benchmarks() -> None:
    values = {"a": np.array([[100.0]]), "b": np.array([[0.0, 0.0, 0.0]])}
    two = Scores((0,), {"a": ("1",), "b": ("1", "2", "3")}, values)
    assert bootstrap().average(two)[0] == 50  # not 25, which the four problems would give


def test_equal_arms_have_no_difference_and_ratio_one_in_every_replicate() -> None:
    boot, rng = bootstrap(), np.random.default_rng(1)
    one = arm(rng.random((2, 30)).tolist())
    parts = [boot.average(one), boot.average(one)]
    assert combine(np.subtract, parts) == combine(lambda a, b: 0 * a, parts)
    assert combine(np.divide, parts).low == combine(np.divide, parts).high == 1


def test_pairing_cancels_what_the_arms_share() -> None:
    # Problems differ by up to 100 points, the arms by exactly 5 on each: the paired interval is
    # the point 5, while each arm's own interval is wide.
    shared = np.random.default_rng(2).uniform(0, 90, (1, 40))
    boot = bootstrap()
    better, worse = (boot.average(arm((shared + shift).tolist(), seeds=(0,))) for shift in (5, 0))
    difference = combine(np.subtract, [better, worse])
    assert difference.low == pytest.approx(5) and difference.high == pytest.approx(5)
    assert interval(*better).high - interval(*better).low > 10


def test_interval_agrees_with_the_normal_one() -> None:
    # One seed, 400 problems of a fair coin: ±1.96 × 50/√400 = ±4.9 points.
    values = np.repeat([[0.0, 100.0]], 200, axis=0).reshape(1, -1)
    estimate = interval(*bootstrap().average(arm(values.tolist(), seeds=(0,))))
    assert estimate.value == 50
    assert estimate.high - estimate.low == pytest.approx(2 * 4.9, rel=0.06)


def test_seeds_widen_the_interval() -> None:
    boot = bootstrap()
    apart = interval(*boot.average(arm([[40.0] * 50, [60.0] * 50])))
    assert (apart.low, apart.high) == pytest.approx((40, 60))  # a replicate may draw one seed twice


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(200):
        sample = rng.normal(50, 10, (1, 60)).tolist()
        estimate = interval(*Bootstrap(rng, 300).average(arm(sample, seeds=(0,))))
        hits += estimate.low <= 50 <= estimate.high
    assert 0.88 <= hits / 200 <= 0.99


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
    rng, boot = np.random.default_rng(4), bootstrap()
    base = rng.uniform(0, 100, (1, 50))
    shifted = base + shift + rng.normal(0, noise, (1, 50))
    one, other = (boot.average(arm(values.tolist(), seeds=(0,))) for values in (shifted, base))
    difference = combine(np.subtract, [one, other], level=0.90)
    assert verdict(difference.low, difference.high, -2, 2) == found


def test_a_ratio_to_nothing_is_no_number() -> None:
    nothing, something = (0.0, np.array([0.0, 0.0])), (2.0, np.array([1.0, 3.0]))
    for arm_draws in (nothing, something):
        assert np.isnan(list(vars(combine(np.divide, [arm_draws, nothing])).values())).all()
    # One replicate without a baseline: the value stands, the interval does not.
    half = combine(np.divide, [something, (1.0, np.array([0.0, 2.0]))])
    assert half.value == 2.0
    assert np.isnan([half.low, half.high]).all()
