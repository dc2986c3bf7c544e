"""Turns graded groups into the mini-batches of a step: advantages, token weights and π_old.

P prompts, G rollouts each, B = P·G rollouts of a mini-batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from twogrpo.config.schema import Config
from twogrpo.core.advantages import ADVANTAGES
from twogrpo.core.aggregation import AGGREGATIONS
from twogrpo.core.surrogates import SURROGATES
from twogrpo.policy.protocol import Policy, TokenLogprobs
from twogrpo.training.dpo import refresh_advantages
from twogrpo.types import Group, TrainingSample


def minibatches(
    groups: Sequence[Group], policy: Policy, config: Config, *, step: int
) -> list[list[TrainingSample]]:
    """The groups of a step as mini-batches of complete groups, in order.

    π_old of a rollout is the policy that sampled it. For the first mini-batch that is the current
    policy, so nothing is computed. For the later ones one pass without gradient is made now, before
    the first update. A group carried over from an earlier step uses the log-probabilities that the
    sampler recorded then. A surrogate that does not use π_old needs no pass.
    """
    size = config.prompts_per_minibatch
    first, *later = [
        training_samples(groups[start : start + size], config, step=step)
        for start in range(0, len(groups), size)
    ]
    if not SURROGATES[config.algorithm.surrogate].uses_old_logps:
        return [first, *later]
    samples = [sample for minibatch in later for sample in minibatch if _lacks_old_logps(sample)]
    old_logps = iter(policy.token_logps(samples))
    return [
        first,
        *(
            [
                replace(sample, old_logps=next(old_logps)) if _lacks_old_logps(sample) else sample
                for sample in minibatch
            ]
            for minibatch in later
        ),
    ]


def _lacks_old_logps(sample: TrainingSample) -> bool:
    return sample.advantage != 0 and sample.old_logps is None


def training_samples(groups: Sequence[Group], config: Config, *, step: int) -> list[TrainingSample]:
    """The samples of one mini-batch; the weights count all B rollouts, zero-variance groups too."""
    rollouts = [(group, rollout) for group in groups for rollout in group.rollouts]
    advantages_PG, pair_weights_B = _advantages(groups, config)
    token_weights_B = AGGREGATIONS[config.algorithm.aggregation](
        torch.tensor([len(rollout.token_ids) for _, rollout in rollouts]),
        max_response_tokens=config.dataset.max_response_tokens,
    )
    return [
        TrainingSample.of(
            group.prompt,
            rollout,
            advantage=advantage,
            token_weight=token_weight,
            old_logps=None if group.step == step else torch.tensor(rollout.sampler_logps),
            pair_weights=tuple(pair_weights),
        )
        for (group, rollout), advantage, token_weight, pair_weights in zip(
            rollouts,
            advantages_PG.flatten().tolist(),
            token_weights_B.tolist(),
            pair_weights_B,
            strict=True,
        )
    ]


def _advantages(groups: Sequence[Group], config: Config) -> tuple[Tensor, list[list[float]]]:
    """Advantages [P, G], and each rollout's pair weights (empty where no pairs are formed).

    Advantages that depend on the policy are those at π_θ = π_ref; twogrpo/training/dpo.py
    recomputes them just before the update.
    """
    algorithm = config.algorithm
    advantage = ADVANTAGES[algorithm.advantage]
    rewards_PG = torch.tensor([group.rewards for group in groups], dtype=torch.float32)
    if advantage.refresh is None:
        advantages_PG = advantage.from_rewards(rewards_PG, epsilon=algorithm.advantage_epsilon)
        return advantages_PG, [[]] * rewards_PG.numel()
    weights_PGG = advantage.from_rewards(rewards_PG)
    advantages_PG = advantage.refresh(
        torch.zeros_like(rewards_PG), weights_PGG, beta=algorithm.preference_beta
    )
    return advantages_PG, weights_PGG.flatten(0, 1).tolist()


@dataclass(frozen=True)
class Minibatch:
    """What one optimizer step sees: mini-batch `index` of loop step `step`.

    `samples` are the rollouts of `groups`, in order.
    """

    step: int
    index: int
    groups: Sequence[Group]
    samples: Sequence[TrainingSample]


def refreshed(
    batches: Sequence[list[TrainingSample]],
    groups: Sequence[Group],
    policy: Policy,
    reference_policy: TokenLogprobs | None,
    config: Config,
    *,
    step: int,
) -> Iterator[Minibatch]:
    """Yields the mini-batches lazily.

    DPO's advantages depend on the current policy and are recomputed before each update; all others
    are fixed.
    """
    size = config.prompts_per_minibatch
    for index, batch in enumerate(batches):
        samples = refresh_advantages(batch, policy, reference_policy, config.algorithm)
        yield Minibatch(step, index, groups[index * size : (index + 1) * size], samples)
