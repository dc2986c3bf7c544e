"""DPO's place in the loop: pairs from the rollouts, and their advantage at the current policy.

P prompts, G rollouts each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from twogrpo.core.dpo import PAIRINGS, preference_advantages
from twogrpo.policy.protocol import TokenLogprobs
from twogrpo.types import Group, TrainingSample


def pair_weights(groups: Sequence[Group], *, pairing: str, seed: int) -> Tensor:
    """The weights [P, G, G] of the pairs that `pairing` forms; a random pair hangs on the group's
    draw and the run's seed alone, so a resumed run forms the same.
    """
    uniforms_P = torch.tensor([_uniform(seed, group.draw) for group in groups])
    rewards_PG = torch.tensor([group.rewards for group in groups], dtype=torch.float32)
    return PAIRINGS[pairing](rewards_PG, uniforms_P=uniforms_P)


def with_current_preference_advantages(
    sequences: Sequence[TrainingSample],
    policy: TokenLogprobs,
    reference: TokenLogprobs | None,
    *,
    beta: float,
) -> list[TrainingSample]:
    """The mini-batch with preference advantages ±β σ(…) taken at the policy as it is now.

    Two passes without gradient, over the paired rollouts only, give every rollout its coefficient;
    from then on each is by itself, so micro-batches may split a pair. Sequences that belong to no
    pairing (every algorithm but DPO) come back as they are.
    """
    group_size = len(sequences[0].pair_weights)
    if group_size == 0:
        return list(sequences)
    assert reference is not None, "a preference is against the start policy"
    weights_PGG = torch.tensor([s.pair_weights for s in sequences]).unflatten(0, (-1, group_size))
    # Not by the advantage: where rewards have three values, a middle one may start with 0.
    is_paired_PG = (weights_PGG.sum(dim=2) + weights_PGG.sum(dim=1)) > 0
    paired = is_paired_PG.flatten().nonzero()[:, 0].tolist()
    log_ratios_B = torch.zeros(len(sequences))
    if paired:
        chosen = [sequences[place] for place in paired]
        log_ratios_B[paired] = _sums(policy, chosen) - _sums(reference, chosen)
    advantages_PG = preference_advantages(
        log_ratios_B.unflatten(0, (-1, group_size)), weights_PGG, beta=beta
    )
    return [
        replace(sequence, advantage=advantage)
        for sequence, advantage in zip(sequences, advantages_PG.flatten().tolist(), strict=True)
    ]


def _sums(model: TokenLogprobs, sequences: Sequence[TrainingSample]) -> Tensor:
    return torch.stack([logps.double().sum() for logps in model.token_logps(sequences)]).float()


def _uniform(seed: int, draw: int) -> float:
    digest = hashlib.sha256(f"{seed}/{draw}/pair".encode()).digest()
    return int.from_bytes(digest[:3]) / 2**24
