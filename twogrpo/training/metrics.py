"""The metrics of a step, as one row of the run record."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from twogrpo.core.estimators import discard_rate, discard_rate_of_mean, kept_rate_of_mean, kl_k3
from twogrpo.policy.protocol import TokenLogprobs, UpdateMetrics
from twogrpo.training.resampling import Counters
from twogrpo.training.sampler_mismatch import both_logps
from twogrpo.types import Group, TrainingSample

# Reasons for a reward of 0 that lie in the verifier, not in the response; counted in every row.
VERIFIER_FAILURES = ("verifier_timeout", "verifier_unparsed", "verifier_died")


def sampling_row(drawn: Sequence[Group]) -> dict[str, Any]:
    """Metrics of all groups drawn in a step, including those that resampling discards.

    `policy/entropy` is the mean of −log π_old over the sampled tokens: an unbiased estimate of the
    entropy of a token, in nats, at the rollout temperature. The `…_of_mean` rates are computed from
    the mean share of correct responses, before label noise.
    """
    rollouts = [rollout for group in drawn for rollout in group.rollouts]
    rewards = [reward for group in drawn for reward in group.rewards]
    num_tokens = sum(len(rollout.token_ids) for rollout in rollouts)
    verdicts = [verdict for group in drawn for verdict in group.verdicts]
    num_truncated = sum(rollout.finish_reason == "length" for rollout in rollouts)
    reasons = Counter(verdict.reason for verdict in verdicts)
    success_rate = sum(verdict.is_correct for verdict in verdicts) / len(rollouts)
    group_size = len(drawn[0].rollouts)
    zero_variance_share = discard_rate(group.rewards for group in drawn)
    return {
        "reward/mean": sum(rewards) / len(rewards),
        "groups/contrastive_share": 1 - zero_variance_share,
        "groups/discard_rate": zero_variance_share,
        "groups/discard_rate_of_mean": discard_rate_of_mean(success_rate, group_size=group_size),
        "groups/kept_rate_of_mean": kept_rate_of_mean(success_rate, group_size=group_size),
        "policy/entropy": -math.fsum(x for r in rollouts for x in r.sampler_logps) / num_tokens,
        "response/tokens_mean": num_tokens / len(rollouts),
        "response/truncated_fraction": num_truncated / len(rollouts),
        "tokens/generated": num_tokens,
        **{f"verdicts/{reason}": reasons[reason] for reason in VERIFIER_FAILURES},
    }


def update_row(
    minibatches: Sequence[Sequence[TrainingSample]], updates: Sequence[UpdateMetrics]
) -> dict[str, Any]:
    """Metrics of a step's optimizer steps: means, weighted by tokens for clip fractions."""
    advantages = torch.tensor([s.advantage for minibatch in minibatches for s in minibatch])
    num_tokens = sum(update.num_tokens for update in updates)
    clipped_low = sum(u.clip_fraction_low * u.num_tokens for u in updates)
    clipped_high = sum(u.clip_fraction_high * u.num_tokens for u in updates)
    return {
        "advantage/rms": advantages.square().mean().sqrt().item(),
        "policy/gradient_norm": sum(u.gradient_norm for u in updates) / len(updates),
        "policy/clip_fraction_low": clipped_low / max(num_tokens, 1),
        "policy/clip_fraction_high": clipped_high / max(num_tokens, 1),
        "policy/learning_rate": updates[-1].learning_rate,
        "tokens/trained_on": num_tokens,
    }


def kl_row(
    drawn: Sequence[Group], reference_policy: TokenLogprobs | None, *, num_rollouts: int
) -> dict[str, Any]:
    """KL(π_old ‖ π_ref) in nats per token, on the step's first `num_rollouts` rollouts."""
    if not num_rollouts or reference_policy is None:
        return {}
    reference_logps, sampler_logps = both_logps(reference_policy, drawn, num_rollouts)
    return {"policy/kl_from_start": kl_k3(sampler_logps, reference_logps).item()}


def speed_row(row: dict[str, Any]) -> dict[str, Any]:
    """Tokens sampled in a step per second of all its phases except validation."""
    seconds = sum(value for name, value in row.items() if name.startswith("seconds/"))
    return {"speed/tokens_per_second": row["tokens/generated"] / seconds}


def counters_row(counters: Counters) -> dict[str, Any]:
    """The numbers of rollouts since the start of the run."""
    return {f"rollouts/{name}": value for name, value in asdict(counters).items()}


def progress_text(row: dict[str, Any]) -> str:
    """A progress line for the row."""
    return (
        f"reward {row['reward/mean']:.3f}  with signal {row['groups/contrastive_share']:.0%}  "
        f"rollouts {row['rollouts/generated']:,}  {row['speed/tokens_per_second']:,.0f} tok/s"
    )
