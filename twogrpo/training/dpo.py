"""DPO in the training loop: advantages at the current policy.

P prompts, G rollouts each, B = P·G rollouts of a mini-batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from twogrpo.config.schema import AlgorithmConfig
from twogrpo.core.advantages import ADVANTAGES
from twogrpo.policy.protocol import TokenLogprobs
from twogrpo.types import TrainingSample


def refresh_advantages(
    samples: Sequence[TrainingSample],
    policy: TokenLogprobs,
    reference: TokenLogprobs | None,
    algorithm: AlgorithmConfig,
) -> list[TrainingSample]:
    """The mini-batch with its advantages recomputed at the current policy, if they depend on it.

    Two passes without gradient, over the paired rollouts only, give every rollout its advantage.
    After that each rollout stands alone, so a micro-batch boundary may split a pair. Where the
    rewards alone decide (every advantage but DPO's) the samples are returned unchanged.
    """
    refresh = ADVANTAGES[algorithm.advantage].refresh
    if refresh is None:
        return list(samples)
    assert reference is not None, "assembled where needs_reference_policy"
    group_size = len(samples[0].pair_weights)
    weights_PGG = torch.tensor([s.pair_weights for s in samples]).unflatten(0, (-1, group_size))
    # Not by the advantage: with three reward values, that of a middle rollout may start at 0.
    is_paired_PG = (weights_PGG.sum(dim=2) + weights_PGG.sum(dim=1)) > 0
    paired = is_paired_PG.flatten().nonzero()[:, 0].tolist()
    log_ratios_B = torch.zeros(len(samples))
    if paired:
        chosen = [samples[index] for index in paired]
        log_ratios_B[paired] = _sums(policy, chosen) - _sums(reference, chosen)
    advantages_PG = refresh(
        log_ratios_B.unflatten(0, (-1, group_size)), weights_PGG, beta=algorithm.preference_beta
    )
    return [
        replace(sample, advantage=advantage)
        for sample, advantage in zip(samples, advantages_PG.flatten().tolist(), strict=True)
    ]


def _sums(model: TokenLogprobs, samples: Sequence[TrainingSample]) -> Tensor:
    return torch.stack([logps.double().sum() for logps in model.token_logps(samples)]).float()
