"""The components of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from twogrpo.config.schema import Config
from twogrpo.distributed.process_group import Ranks
from twogrpo.policy.protocol import Policy, TokenLogprobs
from twogrpo.run_record.phase_timer import PhaseTimer
from twogrpo.run_record.record import RunRecord
from twogrpo.training.collector import Collector
from twogrpo.training.diagnostics import Diagnostics
from twogrpo.training.preemption import PreemptionHandler
from twogrpo.types import Prompt


@dataclass
class Run:
    """The components of a run; `twogrpo.training.assemble` builds them."""

    config: Config
    record: RunRecord
    collector: Collector
    policy: Policy
    reference_policy: TokenLogprobs | None
    diagnostics: Diagnostics
    validation: Sequence[Prompt]
    benchmarks: Mapping[str, Sequence[Prompt]]
    ranks: Ranks
    timer: PhaseTimer
    preemption: PreemptionHandler
    step: int = field(default=0, init=False)  # the current step
