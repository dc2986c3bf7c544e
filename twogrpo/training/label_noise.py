"""Label noise: flips some training rewards, as a verifier that errs would (`reward.noise`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from twogrpo.rollout.groups import rollout_seed
from twogrpo.types import Group, Verdict


def with_label_noise(groups: Sequence[Group], noise: float, *, seed: int) -> list[Group]:
    """The graded groups with the reward r of each rollout replaced by 1 − r with probability
    `noise`: at 0.5 a reward of 0 or 1 is a fair coin. Whether a rollout is correct stays known.

    What is flipped depends on the run's seed and the rollout's place alone, so a resumed run flips
    the same.
    """
    if not noise:
        return list(groups)
    return [
        group.with_verdicts(
            tuple(
                _flipped(verdict) if _uniform(seed, group, index) < noise else verdict
                for index, verdict in enumerate(group.verdicts)
            )
        )
        for group in groups
    ]


def _flipped(verdict: Verdict) -> Verdict:
    return replace(verdict, reward=1.0 - verdict.reward)


def _uniform(seed: int, group: Group, index: int) -> float:
    """A number in [0, 1) for a rollout, independent of the seed of its tokens."""
    name = f"noise/{group.prompt.prompt_id}"
    return rollout_seed(seed, group.draw, name, index, group.attempt) / 2**63
