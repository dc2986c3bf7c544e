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


def test_unequal_lengths_are_named(reward: MathAnswer) -> None:
    with pytest.raises(ValueError, match="2 responses but 1 references"):
        reward.grade(["1", "2"], ["1"])


def test_the_self_check_passes_on_good_golds(reward: MathAnswer) -> None:
    reward.self_check(
        ["12", r"\frac{3}{4}", r"(-\infty, 2]", r"\text{Monday}", "$1$,$-3$", "8.7e8", r"x^2+1"]
    )


def test_the_self_check_raises_on_golds_that_cannot_be_parsed(reward: MathAnswer) -> None:
    golds = ["12", r"\frac{3}{", "", r"\weird{\stuff"]
    with pytest.raises(ValueError, match=r"recognises 25.0% of the gold answers"):
        reward.self_check(golds)
