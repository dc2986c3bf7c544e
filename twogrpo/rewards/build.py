"""Makes the reward that a configuration names."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

from twogrpo.config.schema import RewardConfig
from twogrpo.errors import ConfigError, escape_control_chars
from twogrpo.rewards import protocol
from twogrpo.rewards.code_execution.reward import CodeTests, parse_tests
from twogrpo.rewards.exact_answer import ExactAnswer
from twogrpo.rewards.format_bonus import FormatBonus
from twogrpo.rewards.last_number import LastNumber, parse_number
from twogrpo.rewards.math_grading.reward import MathAnswer
from twogrpo.types import Prompt

REWARDS = ("exact_answer", "last_number", "math_answer", "code_tests")
# How an answer is read by those that cannot judge by any text; ValueError where it cannot be.
_READERS: dict[type, Callable[[str], object]] = {CodeTests: parse_tests, LastNumber: parse_number}


def build_reward(reward: RewardConfig) -> protocol.Reward:
    """Raises ConfigError where the name is unknown or a value is missing."""
    answer = _answer_reward(reward)
    if not (reward.format_weight >= 0 and math.isfinite(reward.format_weight)):
        raise ConfigError(f"reward.format_weight={reward.format_weight}: use 0 (none) or more")
    if reward.format_weight == 0:
        return answer
    try:
        return FormatBonus(
            answer,
            weight=reward.format_weight,
            pattern=reward.format_pattern,
            num_workers=reward.num_workers or 1,
        )
    except re.error as error:
        raise ConfigError(
            f"reward.format_pattern={reward.format_pattern} is no regular expression ({error})"
        ) from error


def _answer_reward(reward: RewardConfig) -> protocol.Reward:
    if reward.name not in REWARDS:
        raise ConfigError(f"reward.name={reward.name} is unknown: use one of {', '.join(REWARDS)}")
    if reward.name == "exact_answer":
        return ExactAnswer()
    if reward.name == "last_number":
        return LastNumber()
    if reward.num_workers is None or reward.num_workers < 1:
        raise ConfigError(f"reward.num_workers={reward.num_workers}: use 1 or more")
    if reward.name == "code_tests":
        try:
            return CodeTests(num_workers=reward.num_workers)
        except ValueError as error:
            raise ConfigError(f"reward.name=code_tests: {error}") from error
    if reward.deadline_seconds is None or not 0 < reward.deadline_seconds < math.inf:
        raise ConfigError(f"reward.deadline_seconds={reward.deadline_seconds}: use e.g. 5")
    return MathAnswer(num_workers=reward.num_workers, deadline_seconds=reward.deadline_seconds)


def isolation(reward: protocol.Reward) -> str | None:
    """What keeps judged programs from the machine, for the record; None where none are run."""
    answer = _within(reward)
    return answer.method if isinstance(answer, CodeTests) else None


def build_checked_reward(
    reward: RewardConfig, prompts: Sequence[Prompt], *, where: str
) -> protocol.Reward:
    """The reward after its self-check on the training set's answers.

    Raises:
        ConfigError: as `build_reward` and `check_references`, or the verifier does not recognise
            enough of the answers.
    """
    built = build_reward(reward)
    check_references(built, prompts, where=where)
    answer = _within(built)
    if isinstance(answer, MathAnswer):
        try:
            answer.self_check([prompt.reference for prompt in prompts])
        except ValueError as error:
            built.close()
            raise ConfigError(f"reward.name={reward.name}: {error}") from error
    return built


def check_references(reward: protocol.Reward, prompts: Sequence[Prompt], *, where: str) -> None:
    """Tries to read every answer that `reward` will have to; `where` names the prompts' key.

    Raises:
        ConfigError: some cannot be read; one would end a run at the step that draws it.
    """
    read, bad = _READERS.get(type(_within(reward))), list[tuple[str, str]]()
    for prompt in prompts:
        try:
            if read:
                read(prompt.reference)
        except ValueError as error:
            bad.append((prompt.prompt_id, str(error)))
    if bad:
        raise ConfigError(
            f"{where}: {len(bad)} of {len(prompts)} answers cannot be judged by, first that of "
            f"{escape_control_chars(bad[0][0])} ({escape_control_chars(bad[0][1])}): drop these "
            "rows, or use the reward=… that suits the data"
        )


def _within(reward: protocol.Reward) -> protocol.Reward:
    return reward.answer if isinstance(reward, FormatBonus) else reward
