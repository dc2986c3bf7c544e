"""Makes the reward that a configuration names, and checks the references it will judge by."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twogrpo.config.schema import RewardConfig as RewardConfig
from twogrpo.errors import ConfigError, escape_control_chars
from twogrpo.rewards.code_execution.reward import CodeTests
from twogrpo.rewards.exact_answer import ExactAnswer
from twogrpo.rewards.last_number import LastNumber
from twogrpo.rewards.math_grading.reward import MathAnswer
from twogrpo.rewards.math_verify import MathVerify
from twogrpo.rewards.protocol import Verifier
from twogrpo.types import Prompt

REWARDS: dict[str, type[Verifier]] = {
    "exact_answer": ExactAnswer,
    "last_number": LastNumber,
    "math_answer": MathAnswer,
    "math_verify": MathVerify,
    "code_tests": CodeTests,
}


def build_reward(config: RewardConfig) -> Verifier:
    """Raises ConfigError where the name is unknown, or a value is missing or out of range.

    Where the machine lacks what the reward needs (a sandbox), the ConfigError has a cause.
    """
    try:
        return _reward_class(config).from_config(config)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"reward.name={config.name}: {error}") from error


def reference_check(config: RewardConfig) -> Callable[[str], None]:
    """Raises ValueError for a reference that the reward cannot judge by; builds no reward."""
    return _reward_class(config).check_reference


def _reward_class(config: RewardConfig) -> type[Verifier]:
    if config.name not in REWARDS:
        raise ConfigError(f"reward.name={config.name} is unknown: use one of {', '.join(REWARDS)}")
    return REWARDS[config.name]


def build_checked_reward(
    config: RewardConfig, prompts: Sequence[Prompt], *, where: str
) -> Verifier:
    """The reward, after it was tried on the training set's references.

    Raises:
        ConfigError: as `build_reward` and `check_references`, or the reward does not recognise
            enough of the references.
    """
    reward = build_reward(config)
    try:
        check_references(reward, prompts, where=where)
        reward.self_check([prompt.reference for prompt in prompts])
    except ConfigError:
        reward.close()
        raise
    except ValueError as error:
        reward.close()
        raise ConfigError(f"reward.name={config.name}: {error}") from error
    return reward


def check_references(reward: Verifier, prompts: Sequence[Prompt], *, where: str) -> None:
    """Checks every reference that `reward` will have to judge by; `where` names the prompts' key.

    Raises:
        ConfigError: some reference is unusable, which would end a run at the step that draws it.
    """
    bad: list[tuple[str, str]] = []
    for prompt in prompts:
        try:
            reward.check_reference(prompt.reference)
        except ValueError as error:
            bad.append((prompt.prompt_id, str(error)))
    if bad:
        raise ConfigError(
            f"{where}: {len(bad)} of {len(prompts)} answers cannot be judged by, first that of "
            f"{escape_control_chars(bad[0][0])} ({escape_control_chars(bad[0][1])}): drop these "
            "rows, or use the reward=… that suits the data"
        )
