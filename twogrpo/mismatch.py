"""How far the sampler's log-probabilities are from the policy's, on the same tokens and weights.

Different kernels and dtypes make them differ a little at every token; a weight sync that failed,
a stale prefix cache or a temperature applied on one side only make them differ a lot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from twogrpo import records
from twogrpo.config import Config
from twogrpo.core.estimators import kl_k3
from twogrpo.engines.protocols import RolloutEngine, Sampling
from twogrpo.preferences import Scorer
from twogrpo.records import Group, Prompt
from twogrpo.sampling import sample_groups


class SyncError(RuntimeError):
    """The sampler does not hold the policy's weights, or not in the same numerics."""


@dataclass(frozen=True)
class Mismatch:
    """Over sampled tokens: largest |Δ log-probability|, KL(sampler ‖ policy) in nats a token, and
    the share whose ratio policy/sampler lies beyond the clip range, so that clipping would cut it.
    """

    max: float
    kl: float
    beyond_clip_fraction: float

    def row(self, prefix: str) -> dict[str, float]:
        """Under the names of the run's record."""
        return {f"{prefix}/{name}": value for name, value in vars(self).items()}


def mismatch(policy: Scorer, groups: Sequence[Group], *, clip: tuple[float, float]) -> Mismatch:
    """Of the groups' rollouts, which the sampler drew with the weights that the policy has now."""
    pairs = [(group, rollout) for group in groups for rollout in group.rollouts]
    policy_logps = torch.cat(
        policy.token_logps(
            [
                records.Sequence(
                    group.prompt.token_ids,
                    rollout.token_ids,
                    advantage=0.0,
                    token_weight=0.0,
                    images=group.prompt.images,
                )
                for group, rollout in pairs
            ]
        )
    )
    sampler_logps = torch.tensor([x for _, rollout in pairs for x in rollout.sampler_logps])
    ratios = (policy_logps - sampler_logps).exp()
    is_beyond = (ratios < 1 - clip[0]) | (ratios > 1 + clip[1])
    return Mismatch(
        max=(policy_logps - sampler_logps).abs().max().item(),
        kl=kl_k3(sampler_logps, policy_logps).item(),
        beyond_clip_fraction=is_beyond.float().mean().item(),
    )


def mismatch_row(policy: Scorer, drawn: Sequence[Group], config: Config) -> dict[str, float]:
    """On the first groups of a generation, before any update; nothing where none are asked for."""
    wanted = -(-config.tracking.mismatch_rollouts // config.algorithm.group_size)
    if not wanted:
        return {}
    return mismatch(policy, drawn[:wanted], clip=_clip(config)).row("mismatch")


def prove_sync(
    rollout: RolloutEngine,
    policy: Scorer,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    config: Config,
) -> dict[str, float]:
    """The canary: samples a few tokens for the same few prompts after every weight sync.

    Prompts that are asked again are what a prefix cache would answer from stale keys and values.

    Raises:
        SyncError: sampler and policy differ by more than `rollout.canary_bounds`.
    """
    if not prompts:
        return {}
    groups = sample_groups(
        list(enumerate(prompts)),
        rollout,
        replace(sampling, max_response_tokens=config.rollout.canary_tokens),
        group_size=1,
        seed=config.seed,
        generation=0,
    )
    found = mismatch(policy, groups, clip=_clip(config))
    dtypes = (config.hardware.dtype, config.hardware.sampler_dtype)
    dtype = "bfloat16" if "bfloat16" in dtypes else "float32"
    bound = config.rollout.canary_bounds[dtype]
    if not found.max <= bound:
        raise SyncError(
            f"after a weight sync sampler and policy differ by {found.max:.2g} in a token's "
            f"log-probability, beyond rollout.canary_bounds.{dtype}={bound:g}: the sampler's "
            "weights or prefix cache are stale; raise the bound only if the dtype alone explains it"
        )
    return found.row("canary")


def _clip(config: Config) -> tuple[float, float]:
    return config.algorithm.clip_low, config.algorithm.clip_high
