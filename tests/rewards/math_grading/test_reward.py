"""The reward that training uses."""

import pytest

from twogrpo.rewards.math_grading.reward import MathAnswer
from twogrpo.types import Verdict

HANGS = r"\boxed{\int_0^{\infty} \sin(x^{x}) dx}"


@pytest.fixture(scope="module")
def reward():
    made = MathAnswer(num_workers=2, deadline_seconds=3)
    yield made
    made.close()


def test_verdicts_are_in_order(reward: MathAnswer) -> None:
    verdicts = reward.grade(
        [r"so \boxed{0.5}", r"\boxed{2}", r"\boxed{}", HANGS, r"so \boxed{0.5}"],
        ["1/2", "3", "3", "3", "1/2"],
    )
    reasons = ["correct", "wrong", "no_answer", "verifier_timeout", "correct"]
    assert verdicts == [Verdict(float(reason == "correct"), reason) for reason in reasons]


def test_unequal_lengths_are_named(reward: MathAnswer) -> None:
    with pytest.raises(ValueError, match="2 responses but 1 references"):
        reward.grade(["1", "2"], ["1"])


def test_the_self_check_passes_on_good_golds(reward: MathAnswer) -> None:
    golds = ["12", r"\frac{3}{4}", r"(-\infty, 2]", r"\text{Monday}", "$1$,$-3$", "8.7e8", r"x^2+1"]
    check = reward.self_check(golds)
    assert (check.num_checked, check.failed) == (7, ())


def test_the_self_check_stops_on_golds_that_cannot_be_read(reward: MathAnswer) -> None:
    golds = ["12", r"\frac{3}{", "", r"\weird{\stuff"]
    with pytest.raises(ValueError, match=r"recognises 25.0% of the gold answers"):
        reward.self_check(golds)
