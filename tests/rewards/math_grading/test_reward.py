"""The mathematics reward that training uses."""

import pytest

from twogrpo.rewards.math_grading.reward import MathAnswer
from twogrpo.types import Verdict


@pytest.fixture(scope="module")
def reward():
    made = MathAnswer(num_workers=2, deadline_seconds=3)
    yield made
    made.close()


def test_verdicts_are_in_order(reward: MathAnswer) -> None:
    # Workers judge 0.5, x + 0 and the last one.
    verdicts = reward.grade(
        [r"so \boxed{0.5}", r"\boxed{2}", r"\boxed{}", "x+0", r"so \boxed{0.5}", r"\frac{}{}"],
        ["1/2", "3", "3", "x", "1/2", "x"],
    )
    reasons = ["correct", "wrong", "no_answer", "correct", "correct", "verifier_unparsed"]
    assert verdicts == [Verdict(float(r == "correct"), r == "correct", r) for r in reasons]


def test_the_self_check_passes_on_good_golds_and_raises_on_bad_ones(reward: MathAnswer) -> None:
    good = ["12", r"\frac{3}{4}", r"(-\infty, 2]", r"\text{Monday}", "$1$,$-3$", "8.7e8", "x^2+1"]
    reward.self_check(good)
    with pytest.raises(ValueError, match=r"25.0%"):
        reward.self_check(["12", r"\frac{3}{", "", r"\weird{\stuff"])
