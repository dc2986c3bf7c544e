"""Makes every step of a benchmark the same work, and records what work it was.

The policy stands still: conf/benchmark.yaml's learning rate is so small that Adam's whole step is
lost in rounding (a weight of 0 becomes 1e-30). So prompts and seeds alone decide what is sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from twogrpo.rewards.protocol import CORRECT, WRONG
from twogrpo.rollout.data_parallel import DataParallelReward, DataParallelSampler
from twogrpo.rollout.protocol import SamplingParams
from twogrpo.training.run import Run
from twogrpo.types import Completion, Prompt, Verdict


@dataclass(frozen=True)
class Call:
    """The token counts of one sampler call: of its P prompts, and of the G responses to each."""

    prompts_P: tuple[int, ...]
    lengths_PG: tuple[tuple[int, ...], ...]


@dataclass
class RecordingSampler(DataParallelSampler):
    """A run's sampler that records its `calls` until the caller empties the list."""

    calls: list[Call] = field(default_factory=list)

    def sample(
        self,
        prompts: Sequence[Prompt],
        seeds_PG: Sequence[Sequence[int]],
        sampling: SamplingParams,
    ) -> list[tuple[Completion, ...]]:
        """Samples as the run's sampler does."""
        found = super().sample(prompts, seeds_PG, sampling)
        lengths_PG = tuple(tuple(len(rollout.token_ids) for rollout in group) for group in found)
        self.calls.append(Call(tuple(len(prompt.token_ids) for prompt in prompts), lengths_PG))
        return found


class AlternatingReward:
    """A reward that grades every other response as right, so that each group has a gradient."""

    grades_truncated = True

    def grade(self, responses: Sequence[str], references: Sequence[str]) -> list[Verdict]:
        """Right, wrong, right, wrong, …"""
        return [WRONG if i % 2 else CORRECT for i in range(len(responses))]

    def close(self) -> None:
        """Holds nothing."""


def record_sampler(run: Run, *, workload: str) -> RecordingSampler:
    """Wraps the run's sampler; with workload=max_length responses reach the limit, half right."""
    assert isinstance(run.collector.sampler, DataParallelSampler)
    if workload == "max_length":
        engine: Any = run.collector.sampler.engine
        engine.end_token_ids = ()  # nothing ends a response but its limit
        run.collector.reward.close()
        # Not wrapped for data parallelism: a rank could then grade only one half of each pair.
        run.collector.reward = AlternatingReward()
    else:
        assert isinstance(run.collector.reward, DataParallelReward)
    recorder = RecordingSampler(
        run.collector.sampler.engine, run.ranks, run.collector.sampler.tensor_parallel_size
    )
    run.collector.sampler = recorder
    return recorder
