"""Makes the reward that a configuration names."""

from __future__ import annotations

from collections.abc import Sequence

from twogrpo.config import ConfigError, Reward
from twogrpo.rewards import protocol
from twogrpo.rewards.code_tests import CodeTests
from twogrpo.rewards.exact_answer import ExactAnswer
from twogrpo.rewards.math_answer import MathAnswer

REWARDS = ("exact_answer", "math_answer", "code_tests")


def build_reward(reward: Reward) -> protocol.Reward:
    """Raises ConfigError where the name is unknown or a value is missing."""
    if reward.name not in REWARDS:
        raise ConfigError(f"reward.name={reward.name} is unknown: use one of {', '.join(REWARDS)}")
    if reward.name == "exact_answer":
        return ExactAnswer()
    if reward.num_workers is None or reward.num_workers < 1:
        raise ConfigError(f"reward.num_workers={reward.num_workers}: use 1 or more")
    if reward.name == "code_tests":
        return CodeTests(num_workers=reward.num_workers)
    if reward.deadline_seconds is None or not reward.deadline_seconds > 0:
        raise ConfigError(f"reward.deadline_seconds={reward.deadline_seconds}: use e.g. 5")
    return MathAnswer(num_workers=reward.num_workers, deadline_seconds=reward.deadline_seconds)


def build_checked_reward(reward: Reward, references: Sequence[str]) -> protocol.Reward:
    """The reward after its self-check on the training set's answers.

    Raises:
        ConfigError: as `build_reward`, or the verifier does not recognise enough of the answers.
    """
    built = build_reward(reward)
    if isinstance(built, MathAnswer):
        try:
            built.self_check(references)
        except ValueError as error:
            built.close()
            raise ConfigError(f"reward.name={reward.name}: {error}") from error
    return built
