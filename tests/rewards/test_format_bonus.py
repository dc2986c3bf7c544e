"""The bonus is added to the reward and leaves the judgement of the answer alone."""

import pytest

from twogrpo.config import ConfigError, Reward
from twogrpo.records import Verdict
from twogrpo.rewards.build import build_reward


def _reward(weight: float, pattern: str = r"^[0-9=]+$") -> Reward:
    return Reward(
        name="exact_answer",
        num_workers=None,
        deadline_seconds=None,
        format_weight=weight,
        format_pattern=pattern,
    )


def test_bonus_is_added_to_right_and_to_wrong_answers():
    built = build_reward(_reward(0.25))
    verdicts = built.grade(["4=9", "x=9", "4=8", ""], ["9", "9", "9", "9"])
    # answer reward + 0.25 where only digits and "=" stand in the response
    assert verdicts == [
        Verdict(1.25, "correct"),
        Verdict(1.0, "correct"),
        Verdict(0.25, "wrong"),
        Verdict(0.0, "no_answer"),
    ]


def test_weight_zero_is_the_paper():
    assert build_reward(_reward(0.0)).grade(["4=9"], ["9"]) == [Verdict(1.0, "correct")]


@pytest.mark.parametrize(("weight", "pattern"), [(-1.0, "a"), (float("nan"), "a"), (1.0, "(")])
def test_bad_values_are_refused_by_name(weight, pattern):
    with pytest.raises(ConfigError, match=r"reward\.format_"):
        build_reward(_reward(weight, pattern))
