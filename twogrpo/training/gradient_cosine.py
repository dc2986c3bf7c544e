"""The cosine between the gradients of GRPO and DPO on one mini-batch, tracked over training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.nn.functional import cosine_similarity

from twogrpo.config.schema import Config
from twogrpo.core.surrogates import SURROGATES
from twogrpo.policy.protocol import Policy, TokenLogprobs
from twogrpo.training.dpo import refresh_advantages
from twogrpo.training.minibatches import training_samples
from twogrpo.types import Group

# Each sets the three choices. The second DPO differs from the first in its aggregation only, so the
# two cosines separate the effect of the sum over tokens from that of the sigmoid.
GRPO: dict[str, Any] = {
    "advantage": "standardised_population",
    "surrogate": "token_ratio_clipped",
    "aggregation": "sequence_mean_of_token_means",
}
DPO: dict[str, Any] = {
    "advantage": "preference_over_all_pairs",
    "surrogate": "log_likelihood",
    "aggregation": "sequence_mean_of_token_sums",
}
DPO_OF_TOKEN_MEANS = {**DPO, "aggregation": "sequence_mean_of_token_means"}


def cosine_row(
    groups: Sequence[Group],
    policy: Policy,
    reference: TokenLogprobs | None,
    config: Config,
    *,
    step: int,
) -> dict[str, Any]:
    """The cosines at π_θ = π_old on a mini-batch of groups, whatever algorithm is training.

    The groups are the step's first; groups carried over by resampling, from an older π_old, are
    excluded. The row is empty if no group has a signal or `tracking.gradient_cosine_every` is 0.
    """
    every = config.tracking.gradient_cosine_every
    on_policy = [group for group in groups if group.step == step]
    groups = on_policy[: config.prompts_per_minibatch]
    if not every or step % every or not any(group.has_signal for group in groups):
        return {}

    def gradient(row: dict[str, Any]) -> Tensor:
        twin = replace(config, algorithm=replace(config.algorithm, **row))
        sequences = training_samples(groups, twin, step=step)
        sequences = refresh_advantages(sequences, policy, reference, twin.algorithm)
        return policy.gradient(sequences, surrogate=SURROGATES[row["surrogate"]].function).double()

    of_grpo = gradient(GRPO)
    return {
        f"gradient/cosine_of_grpo_and_{name}": cosine_similarity(
            of_grpo, gradient(row), dim=0
        ).item()
        for name, row in (("dpo", DPO), ("dpo_of_token_means", DPO_OF_TOKEN_MEANS))
    }
