"""From prompts to scored groups: the seeds of the rollouts, the sampler, the reward."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from twogrpo.rewards.protocol import Reward
from twogrpo.rollout.protocol import Sampler, SamplingParams
from twogrpo.types import Group, Prompt, Verdict


def rollout_seed(run_seed: int, draw: int, prompt_id: str, index: int) -> int:
    """Seed of one rollout, from what names it: equal draws are impossible by construction within a
    group, and a resumed run draws the same tokens."""
    name = f"{run_seed}/{draw}/{prompt_id}/{index}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) >> 1


def sample_groups(
    drawn: Sequence[tuple[int, Prompt]],
    rollout: Sampler,
    sampling: SamplingParams,
    *,
    group_size: int,
    seed: int,
    step: int,
) -> list[Group]:
    """One group of `group_size` unscored rollouts for each (draw, prompt)."""
    seeds_PG = [
        [rollout_seed(seed, draw, prompt.prompt_id, index) for index in range(group_size)]
        for draw, prompt in drawn
    ]
    rollouts = rollout.sample([prompt for _, prompt in drawn], seeds_PG, sampling)
    return [
        Group(prompt=prompt, draw=draw, step=step, rollouts=members)
        for (draw, prompt), members in zip(drawn, rollouts, strict=True)
    ]


def grade_groups(groups: Sequence[Group], reward: Reward) -> list[Group]:
    """The groups with a verdict for each rollout."""
    rollouts = [(group, rollout) for group in groups for rollout in group.rollouts]
    graded = iter(
        reward.grade(
            [rollout.text for _, rollout in rollouts],
            [group.prompt.reference for group, _ in rollouts],
        )
    )
    verdicts = iter(
        verdict
        if rollout.finish_reason == "stop" or reward.grades_truncated
        else Verdict(0.0, "truncated")
        for (_, rollout), verdict in zip(rollouts, graded, strict=True)
    )
    return [group.with_verdicts(tuple(next(verdicts) for _ in group.rollouts)) for group in groups]
