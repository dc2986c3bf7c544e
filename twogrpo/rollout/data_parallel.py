"""Data-parallel sampler and reward: each rank processes a shard; results are all-gathered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from twogrpo.distributed.process_group import Ranks
from twogrpo.rewards.protocol import Reward
from twogrpo.rollout.protocol import Sampler, SamplingParams
from twogrpo.types import Completion, Prompt, Verdict


@dataclass
class DataParallelSampler:
    """See `twogrpo.rollout.protocol.Sampler`; one engine per rank, all with the same weights.

    With tensor parallelism `tensor_parallel_size` adjacent ranks share one copy of the weights, so
    they sample the same prompts.
    """

    engine: Sampler
    ranks: Ranks
    tensor_parallel_size: int = 1

    def sample(
        self,
        prompts: Sequence[Prompt],
        seeds_PG: Sequence[Sequence[int]],
        sampling: SamplingParams,
    ) -> list[tuple[Completion, ...]]:
        """The responses to all prompts, on every rank."""
        number, stride = self.ranks.rank, self.ranks.size
        share = slice(
            number // self.tensor_parallel_size, None, stride // self.tensor_parallel_size
        )
        mine = self.engine.sample(prompts[share], seeds_PG[share], sampling)
        shares = self.ranks.all_gather(mine)[:: self.tensor_parallel_size]
        return [shares[i % len(shares)][i // len(shares)] for i in range(len(prompts))]

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """π_old ← π_θ on every rank."""
        self.engine.load(weights)

    def sleep(self) -> None:
        """Frees device memory for the policy."""
        self.engine.sleep()

    def close(self) -> None:
        """Closes the engine."""
        self.engine.close()


@dataclass
class DataParallelReward:
    """See `twogrpo.rewards.protocol.Reward`; each rank has its own workers."""

    reward: Reward
    ranks: Ranks

    @property
    def grades_truncated(self) -> bool:
        """Whether truncated responses are graded."""
        return self.reward.grades_truncated

    def grade(self, responses: Sequence[str], references: Sequence[str]) -> list[Verdict]:
        """The verdicts on all responses, on every rank."""
        mine = self.reward.grade(self.ranks.shard(responses), self.ranks.shard(references))
        return self.ranks.unshard(mine)

    def close(self) -> None:
        """Stops its workers."""
        self.reward.close()
