"""The bonus is added to the reward and leaves the judgement of the answer alone."""

import time

import pytest

from twogrpo.config.schema import RewardConfig
from twogrpo.errors import ConfigError
from twogrpo.rewards.build import build_reward
from twogrpo.rewards.format_bonus import FormatBonus
from twogrpo.types import Verdict


def _reward(weight: float, pattern: str = r"^[0-9=]+$") -> RewardConfig:
    return RewardConfig(
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
    built.close()
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


def test_a_pattern_that_would_take_for_ever_costs_its_deadline(capfd):
    """`(<think>.*)+</think>` tries every way to cut 30,000 characters before it gives up."""
    answer = build_reward(_reward(0.0))
    built = FormatBonus(answer, weight=0.25, pattern="(<think>.*)+</think>", deadline_seconds=1.0)
    start = time.monotonic()
    verdicts = built.grade(["<think>" * 4_000, "<think>so</think>=9"], ["9", "9"])
    assert time.monotonic() - start < 20
    assert verdicts == [Verdict(0.0, "wrong"), Verdict(1.25, "correct")]
    told = capfd.readouterr().err
    assert told.count("\n") == 1
    assert "reward.format_pattern took over 1 s on 1 of 2 responses" in told
    assert len(built._pool._workers) == 1
    built.close()
    assert built._pool._workers == []
