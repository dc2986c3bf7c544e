"""From scored groups to what an optimiser step consumes: advantages, token weights, π_old.

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
from twogrpo.core.dpo import PAIRINGS, preference_advantages
from twogrpo.core.surrogates import SURROGATES_WITH_RATIO
from twogrpo.policy.protocol import Policy, TokenLogprobs
from twogrpo.training.dpo import pair_weights, with_current_preference_advantages
from twogrpo.types import Group, TrainingSample


def minibatches(
    groups: Sequence[Group], policy: Policy, config: Config, *, step: int
) -> list[list[TrainingSample]]:
    """The groups of a step as mini-batches of whole groups, in order.

    π_old of a rollout is the policy that sampled it. In the first mini-batch that is the policy
    itself, so nothing is computed; for the others one pass without gradient is made now, before the
    first update; for a group carried over from an earlier step the sampler's own
    log-probabilities, recorded then, are taken. A surrogate without a ratio asks for none.
    """
    size = config.prompts_per_minibatch
    sequences = [
        training_samples(groups[start : start + size], config, step=step)
        for start in range(0, len(groups), size)
    ]
    if config.algorithm.surrogate not in SURROGATES_WITH_RATIO:
        return sequences
    waiting = [
        sequence
        for minibatch in sequences[1:]
        for sequence in minibatch
        if sequence.advantage != 0 and sequence.old_logps is None
    ]
    old_logps = iter(policy.token_logps(waiting))
    later = [
        [
            replace(sequence, old_logps=next(old_logps))
            if sequence.advantage != 0 and sequence.old_logps is None
            else sequence
            for sequence in minibatch
        ]
        for minibatch in sequences[1:]
    ]
    return [sequences[0], *later]


def training_samples(groups: Sequence[Group], config: Config, *, step: int) -> list[TrainingSample]:
    """The sequences of one mini-batch; the weights count all B rollouts, dead groups included."""
    algorithm = config.algorithm
    rollouts = [(group, rollout) for group in groups for rollout in group.rollouts]
    advantages_PG, pair_weights_B = _advantages(groups, config)
    token_weights_B = AGGREGATIONS[algorithm.aggregation](
        torch.tensor([len(rollout.token_ids) for _, rollout in rollouts]),
        max_response_tokens=config.dataset.max_response_tokens,
    )
    return [
        TrainingSample(
            prompt_token_ids=group.prompt.token_ids,
            response_token_ids=rollout.token_ids,
            advantage=advantage,
            token_weight=token_weight,
            old_logps=None if group.step == step else torch.tensor(rollout.sampler_logps),
            pair_weights=tuple(pair_weights),
            sampler_logps=None
            if algorithm.importance_sampling_cap is None
            else torch.tensor(rollout.sampler_logps),
            images=group.prompt.images,
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
    """Advantages [P, G] and each rollout's pair weights (none where no pairs are formed).

    A preference advantage is the one at π_θ = π_ref; twogrpo/training/dpo.py puts in its place,
    just before the update, the one at the policy of that moment.
    """
    algorithm = config.algorithm
    rewards_PG = torch.tensor([group.rewards for group in groups], dtype=torch.float32)
    if algorithm.advantage not in PAIRINGS:
        function = ADVANTAGES[algorithm.advantage]
        advantages_PG = function(rewards_PG, epsilon=algorithm.advantage_epsilon)
        return advantages_PG, [[]] * rewards_PG.numel()
    weights_PGG = pair_weights(groups, pairing=algorithm.advantage, seed=config.seed)
    advantages_PG = preference_advantages(
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
    size, beta = config.prompts_per_minibatch, config.algorithm.preference_beta
    for index, batch in enumerate(batches):
        samples = with_current_preference_advantages(batch, policy, reference_policy, beta=beta)
        yield Minibatch(step, index, groups[index * size : (index + 1) * size], samples)
