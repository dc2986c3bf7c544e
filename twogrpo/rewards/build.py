"""Makes the reward that a configuration names."""

from __future__ import annotations

from twogrpo.config import ConfigError, Reward
from twogrpo.rewards import protocol
from twogrpo.rewards.exact_answer import ExactAnswer


def build_reward(reward: Reward) -> protocol.Reward:
    """Raises ConfigError where the name is unknown."""
    if reward.name == "exact_answer":
        return ExactAnswer()
    raise ConfigError(f"reward.name={reward.name} is unknown: use exact_answer")
