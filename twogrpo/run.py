"""All that takes part in a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from twogrpo.clock import Clock
from twogrpo.config import Config
from twogrpo.data.datasets import PromptStream
from twogrpo.engines.protocols import Policy, RolloutEngine, Sampling
from twogrpo.engines.ranks import Ranks
from twogrpo.engines.scoring import ScoringModel
from twogrpo.mismatch import Canary
from twogrpo.preemption import Notice
from twogrpo.records import Prompt
from twogrpo.resampling import Counters, Resampling
from twogrpo.rewards.protocol import Reward
from twogrpo.tracking import RunRecord


@dataclass
class Run:
    """Everything that takes part in a run; `twogrpo.assemble` builds it."""

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
    generation: int = field(default=0, init=False)  # that is under way

    def __post_init__(self) -> None:
        grace = self.config.training.preemption_grace_seconds
        self.notice = Notice(
            self.ranks,
            grace_seconds=grace,
            at_last=lambda: self.record.mark_interrupted("SIGTERM"),
        )
