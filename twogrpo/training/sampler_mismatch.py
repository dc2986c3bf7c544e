"""The difference between the sampler's and the policy's log-probabilities of the same tokens.

Different kernels and dtypes cause small differences at every token; a failed weight sync, a stale
prefix cache or a temperature applied on one side only cause large ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from twogrpo.config.schema import Config
from twogrpo.core.estimators import kl_k3
from twogrpo.errors import SyncFault
from twogrpo.policy.protocol import TokenLogprobs
from twogrpo.rollout.groups import sample_groups
from twogrpo.rollout.protocol import Sampler, SamplingParams
from twogrpo.types import Draw, Group, Prompt, TrainingSample


@dataclass(frozen=True)
class Mismatch:
    """The largest |Δ log-probability| over sampled tokens, KL(sampler ‖ policy) in nats per token,
    and the share of tokens whose ratio policy/sampler is outside the clip range.
    """

    max: float
    kl: float
    beyond_clip_fraction: float

    def row(self, prefix: str) -> dict[str, float]:
        """The values under their run-record keys."""
        return {f"{prefix}/{name}": value for name, value in vars(self).items()}


def mismatch(
    policy: TokenLogprobs, groups: Sequence[Group], *, clip: tuple[float, float]
) -> Mismatch:
    """The mismatch on groups that the sampler drew with the policy's current weights."""
    return compare(_policy_logps(policy, groups), _sampler_logps(groups), clip=clip)


def compare(policy_logps: Tensor, sampler_logps: Tensor, *, clip: tuple[float, float]) -> Mismatch:
    """The mismatch of two flat tensors of log-probabilities of the same tokens."""
    ratios = (policy_logps - sampler_logps).exp()
    is_beyond = (ratios < 1 - clip[0]) | (ratios > 1 + clip[1])
    return Mismatch(
        max=(policy_logps - sampler_logps).abs().max().item(),
        kl=kl_k3(sampler_logps, policy_logps).item(),
        beyond_clip_fraction=is_beyond.float().mean().item(),
    )


def mismatch_row(policy: TokenLogprobs, drawn: Sequence[Group], config: Config) -> dict[str, float]:
    """The mismatch on the first groups of a step, before any update; empty if disabled."""
    num_groups = -(-config.tracking.mismatch_rollouts // config.algorithm.group_size)
    if not num_groups:
        return {}
    return mismatch(policy, drawn[:num_groups], clip=_clip(config)).row("mismatch")


@dataclass
class SyncCheck:
    """Samples a few tokens for the same few prompts with the same seeds after every weight sync.

    Repeated prompts expose a prefix cache with stale keys and values. With the same seeds, the same
    weights give the same numbers, so a sampler that missed an update, however small, repeats its
    previous output exactly.
    """

    prompts: Sequence[Prompt]
    _before: tuple[Tensor, Tensor] | None = field(default=None, init=False)

    def __len__(self) -> int:
        return len(self.prompts)

    def check_sync(
        self, rollout: Sampler, policy: TokenLogprobs, sampling: SamplingParams, config: Config
    ) -> dict[str, float]:
        """The mismatch under `canary/…`; empty without prompts.

        Raises:
            SyncFault: sampler and policy differ by more than `sync_check.bounds` at a token or
                `sync_check.kl_bounds` on the mean, or the policy has moved and the sampler has
                not.
        """
        if not self.prompts:
            return {}
        groups = sample_groups(
            [Draw(number, prompt) for number, prompt in enumerate(self.prompts)],
            rollout,
            replace(sampling, max_response_tokens=config.sync_check.tokens),
            group_size=1,
            seed=config.seed,
            step=0,
        )
        policy_logps, sampler_logps = _policy_logps(policy, groups), _sampler_logps(groups)
        found = compare(policy_logps, sampler_logps, clip=_clip(config))
        _check_bounds(found, config)
        if _detects_small_updates(config) and self._before is not None:
            _check_changed(self._before, (policy_logps, sampler_logps))
        self._before = policy_logps, sampler_logps
        return found.row("canary")


def _check_bounds(found: Mismatch, config: Config) -> None:
    dtypes = (config.hardware.dtype, config.hardware.sampler_dtype)
    dtype = "bfloat16" if "bfloat16" in dtypes else "float32"
    for value, what, key in (
        (found.max, "a token's log-probability", "bounds"),
        (found.kl, "KL, in nats a token", "kl_bounds"),
    ):
        bound: float = getattr(getattr(config.sync_check, key), dtype)
        if not value <= bound:
            raise SyncFault(
                f"after a weight sync sampler and policy differ by {value:.2g} in {what}, beyond "
                f"sync_check.{key}.{dtype}={bound:g}: the sampler's weights or prefix cache "
                "are stale; raise the bound only if the dtype alone explains it"
            )


def _detects_small_updates(config: Config) -> bool:
    """False for a bfloat16 sampler, which may round away an update of a float32 policy."""
    return (config.hardware.dtype, config.hardware.sampler_dtype) != ("float32", "bfloat16")


def _check_changed(before: tuple[Tensor, Tensor], now: tuple[Tensor, Tensor]) -> None:
    """Raises SyncFault if the sampler's log-probabilities are bitwise unchanged (and so the tokens)
    while the policy's changed for more than half of the tokens.
    """
    (policy_before, sampler_before), (policy_now, sampler_now) = before, now
    if not torch.equal(sampler_now, sampler_before):
        return
    changed_share = (policy_now != policy_before).float().mean().item()
    if changed_share > 0.5:
        raise SyncFault(
            f"after a weight sync the sampler gives the same log-probabilities to the last bit as "
            f"before the update, which changed {changed_share:.0%} of the policy's: its weights "
            "are stale; see its load()"
        )


def _policy_logps(policy: TokenLogprobs, groups: Sequence[Group]) -> Tensor:
    """The policy's log-probabilities of all tokens of the groups' rollouts, flat."""
    sequences = [
        TrainingSample.of(group.prompt, rollout) for group in groups for rollout in group.rollouts
    ]
    return torch.cat(policy.token_logps(sequences))


def _sampler_logps(groups: Sequence[Group]) -> Tensor:
    return torch.tensor([x for g in groups for r in g.rollouts for x in r.sampler_logps])


def _clip(config: Config) -> tuple[float, float]:
    return config.algorithm.clip_low, config.algorithm.clip_high
