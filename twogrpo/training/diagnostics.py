"""A step's diagnostics: sampler mismatch, KL from the reference, gradient cosine, sync check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twogrpo.config.schema import Config
from twogrpo.policy.protocol import Policy, TokenLogprobs
from twogrpo.training.collector import Collected, Collector
from twogrpo.training.gradient_cosine import cosine_row
from twogrpo.training.metrics import kl_row
from twogrpo.training.sampler_mismatch import SyncCheck, mismatch_row


@dataclass
class Diagnostics:
    """Measurements for the step's row; none changes an update; a failed sync check stops it."""

    config: Config
    collector: Collector
    policy: Policy
    reference_policy: TokenLogprobs | None
    sync_check: SyncCheck

    def before_update(self, collected: Collected, step: int) -> dict[str, Any]:
        """The sampler's mismatch, the cosine of GRPO's and DPO's gradients and the KL divergence,
        at π_θ = π_old."""
        row: dict[str, Any] = mismatch_row(self.policy, collected.drawn, self.config)
        row |= cosine_row(
            collected.batch, self.policy, self.reference_policy, self.config, step=step
        )
        row |= kl_row(
            collected.drawn,
            self.reference_policy,
            num_rollouts=self.config.tracking.kl_rollouts,
        )
        return row

    def after_sync(self) -> dict[str, Any]:
        """Checks that the sampler holds the policy's weights.

        Raises:
            SyncFault: it does not.
        """
        return self.sync_check.check_sync(
            self.collector.sampler, self.policy, self.collector.sampling, self.config
        )
