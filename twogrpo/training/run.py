"""All that takes part in a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from twogrpo.config.schema import Config
from twogrpo.data.prompts import PromptStream
from twogrpo.distributed.process_group import Ranks
from twogrpo.policy.logprob_model import LogprobModel
from twogrpo.policy.protocol import Policy
from twogrpo.rewards.protocol import Reward
from twogrpo.rollout.protocol import Sampler, SamplingParams
from twogrpo.run_record.phase_timer import PhaseTimer
from twogrpo.run_record.record import RunRecord
from twogrpo.training.preemption import PreemptionHandler
from twogrpo.training.resampling import Counters, Resampling
from twogrpo.training.sampler_mismatch import SyncCheck
from twogrpo.types import Prompt


@dataclass
class Run:
    """Everything that takes part in a run; `twogrpo.training.assemble` builds it."""

    config: Config
    record: RunRecord
    stream: PromptStream
    sampler: Sampler
    reward: Reward
    policy: Policy
    reference_policy: LogprobModel | None
    resampling: Resampling
    counters: Counters
    sampling: SamplingParams
    test_sampling: SamplingParams
    validation: Sequence[Prompt]
    benchmarks: Mapping[str, Sequence[Prompt]]
    sync_check: SyncCheck
    ranks: Ranks
    timer: PhaseTimer
    preemption: PreemptionHandler = field(init=False)
    step: int = field(default=0, init=False)  # that is under way

    def __post_init__(self) -> None:
        grace = self.config.training.preemption_grace_seconds
        self.preemption = PreemptionHandler(
            self.ranks,
            grace_seconds=grace,
            on_forced_exit=lambda: self.record.mark_interrupted("SIGTERM"),
        )
