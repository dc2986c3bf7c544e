"""Samples and grades groups of rollouts."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence

from twogrpo.rewards.protocol import Reward
from twogrpo.rollout.protocol import Sampler, SamplingParams
from twogrpo.types import Draw, Group, Verdict


def rollout_seed(run_seed: int, draw: int, prompt_id: str, index: int, attempt: int = 0) -> int:
    """The seed of one rollout, a hash of its identifiers.

    No two rollouts of a group share a seed, and a resumed run samples the same tokens.
    """
    name = f"{run_seed}/{draw}/{prompt_id}/{index}" + (f"/{attempt}" if attempt else "")
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) >> 1


def sample_groups(
    draws: Sequence[Draw],
    sampler: Sampler,
    sampling: SamplingParams,
    *,
    group_size: int,
    seed: int,
    step: int,
) -> list[Group]:
    """One group of `group_size` ungraded rollouts for each draw."""
    seeds_PG = [
        [
            rollout_seed(seed, draw.number, draw.prompt.prompt_id, index, draw.attempt)
            for index in range(group_size)
        ]
        for draw in draws
    ]
    completions = sampler.sample([draw.prompt for draw in draws], seeds_PG, sampling)
    return [
        Group(draw.prompt, draw.number, step, members, attempt=draw.attempt)
        for draw, members in zip(draws, completions, strict=True)
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
        else Verdict(0.0, False, "truncated")
        for (_, rollout), verdict in zip(rollouts, graded, strict=True)
    )
    return [group.with_verdicts(tuple(next(verdicts) for _ in group.rollouts)) for group in groups]


def warn_if_truncated(fraction: float, limit: str) -> None:
    """Prints a warning if over nine tenths of the first responses were cut by the key `limit`."""
    if fraction > 0.9:
        sys.stderr.write(
            f"WARNING: {fraction:.0%} of the first responses reached {limit}: raise it, or name "
            "what else ends a response in model.end_tokens (run.json has the tokens in use)\n"
        )
