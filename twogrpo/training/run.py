"""All that takes part in a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from twogrpo.config.schema import Config
from twogrpo.data.prompts import PromptStream
from twogrpo.distributed.process_group import Ranks
from twogrpo.policy.logprob_model import ScoringModel
from twogrpo.policy.protocol import Policy
from twogrpo.rewards.protocol import Reward
from twogrpo.rollout.protocol import RolloutEngine, Sampling
from twogrpo.run_record.phase_timer import Clock
from twogrpo.run_record.record import RunRecord
from twogrpo.training.preemption import Notice
from twogrpo.training.resampling import Counters, Resampling
from twogrpo.training.sampler_mismatch import Canary
from twogrpo.types import Prompt


@dataclass
class Run:
    """Everything that takes part in a run; `twogrpo.training.assemble` builds it."""

    config: Config
    record: RunRecord
    stream: PromptStream
    rollout: RolloutEngine
    reward: Reward
    policy: Policy
    start_policy: ScoringModel | None
    resampling: Resampling
    counters: Counters
    sampling: Sampling
    test_sampling: Sampling
    validation: Sequence[Prompt]
    benchmarks: Mapping[str, Sequence[Prompt]]
    canary: Canary
    ranks: Ranks
    clock: Clock
    notice: Notice = field(init=False)
    step: int = field(default=0, init=False)  # that is under way

    def __post_init__(self) -> None:
        grace = self.config.training.preemption_grace_seconds
        self.notice = Notice(
            self.ranks,
            grace_seconds=grace,
            at_last=lambda: self.record.mark_interrupted("SIGTERM"),
        )
