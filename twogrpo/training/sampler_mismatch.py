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


def mismatch(
    policy_logps: Tensor, sampler_logps: Tensor, *, clip: tuple[float, float]
) -> dict[str, float]:
    """The mismatch of two flat tensors of log-probabilities of the same tokens.

    `max` is the largest |Δ log-probability|, `kl` is KL(sampler ‖ policy) in nats per token, and
    `beyond_clip_fraction` the share of tokens whose ratio policy/sampler is outside the clip range.
    """
    ratios = (policy_logps - sampler_logps).exp()
    is_beyond = (ratios < 1 - clip[0]) | (ratios > 1 + clip[1])
    return {
        "max": (policy_logps - sampler_logps).abs().max().item(),
        "kl": kl_k3(sampler_logps, policy_logps).item(),
        "beyond_clip_fraction": is_beyond.float().mean().item(),
    }


def mismatch_row(policy: TokenLogprobs, drawn: Sequence[Group], config: Config) -> dict[str, float]:
    """The mismatch on the first groups of a step, before any update; empty if disabled."""
    num_groups = -(-config.tracking.mismatch_rollouts // config.algorithm.group_size)
    if not num_groups:
        return {}
    return _row("mismatch", both_logps(policy, drawn[:num_groups]), config)


@dataclass
class SyncCheck:
    """Samples a few tokens for the same few prompts with the same seeds after every weight sync.

    Repeated prompts expose a prefix cache with stale keys and values. With the same seeds, the same
    weights give the same numbers, so a sampler that missed an update, however small, repeats its
    previous output exactly.
    """

    prompts: Sequence[Prompt]
    _before: tuple[Tensor, Tensor] | None = field(default=None, init=False)

    def check_sync(
        self, rollout: Sampler, policy: TokenLogprobs, sampling: SamplingParams, config: Config
    ) -> dict[str, float]:
        """The mismatch under `canary/…`; empty without prompts.

        Raises:
            SyncFault: sampler and policy differ by more than `sync_check.kl_bounds` on the mean, or
                by more than `sync_check.bounds` at a token and again among other draws, or the
                policy has moved and the sampler has not.
        """
        if not self.prompts:
            return {}

        def look(step: int) -> tuple[Tensor, Tensor]:
            groups = sample_groups(
                [Draw(number, prompt) for number, prompt in enumerate(self.prompts)],
                rollout,
                replace(sampling, max_response_tokens=config.sync_check.tokens),
                group_size=1,
                seed=config.seed,
                step=step,
            )
            return both_logps(policy, groups)

        logps = look(0)
        row = _row("canary", logps, config)
        dtypes = (config.hardware.dtype, config.hardware.sampler_dtype)
        dtype = "bfloat16" if "bfloat16" in dtypes else "float32"
        _check_bound(row["canary/kl"], "KL, in nats a token", "kl_bounds", dtype, config)
        if not row["canary/max"] <= getattr(config.sync_check.bounds, dtype):
            # Rounding can do that to one rare token; stale weights do it to the next ones, too.
            again = _row("canary", look(1), config)["canary/max"]
            _check_bound(again, "a token's log-probability, twice", "bounds", dtype, config)
        # A bfloat16 sampler may round away an update of a float32 policy.
        if self._before is not None and dtypes != ("float32", "bfloat16"):
            _check_changed(self._before, logps)
        self._before = logps
        return row


def _check_bound(value: float, what: str, key: str, dtype: str, config: Config) -> None:
    bound: float = getattr(getattr(config.sync_check, key), dtype)
    if not value <= bound:
        raise SyncFault(
            f"after a weight sync sampler and policy differ by {value:.2g} in {what}, beyond "
            f"sync_check.{key}.{dtype}={bound:g}: the sampler's weights or prefix cache "
            "are stale; raise the bound only if the dtype alone explains it"
        )


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


def both_logps(
    policy: TokenLogprobs, groups: Sequence[Group], num_rollouts: int | None = None
) -> tuple[Tensor, Tensor]:
    """The policy's and the sampler's log-probabilities of the first rollouts' tokens, flat."""
    pairs = [(group, rollout) for group in groups for rollout in group.rollouts][:num_rollouts]
    samples = [TrainingSample.of(group.prompt, rollout) for group, rollout in pairs]
    sampler_logps = torch.tensor([x for _, rollout in pairs for x in rollout.sampler_logps])
    return torch.cat(policy.token_logps(samples)), sampler_logps


def _row(prefix: str, logps: tuple[Tensor, Tensor], config: Config) -> dict[str, float]:
    clip = config.algorithm.clip_low, config.algorithm.clip_high
    return {f"{prefix}/{name}": value for name, value in mismatch(*logps, clip=clip).items()}
