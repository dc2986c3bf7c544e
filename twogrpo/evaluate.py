"""Evaluation: n samples of every benchmark problem, and how many of them are right."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twogrpo.core.estimators import mean_at_k
from twogrpo.engines.protocols import RolloutEngine, Sampling
from twogrpo.records import Prompt
from twogrpo.rewards.protocol import Reward
from twogrpo.sampling import sample_groups, score


@dataclass(frozen=True)
class BenchmarkResult:
    """Counts per problem: from them any estimate and any interval can be recomputed."""

    num_samples: int
    problem_ids: list[str]
    num_correct: list[int]
    tokens_mean: float
    truncated_fraction: float
    seconds: float

    @property
    def mean(self) -> float:
        """Mean@n over the problems, in [0, 1]."""
        counts = [mean_at_k(correct, self.num_samples) for correct in self.num_correct]
        return sum(counts) / len(counts)

    def row(self, benchmark: str) -> dict[str, Any]:
        """The metrics under the names of the run's record."""
        values = {**vars(self), "mean": self.mean}
        return {f"evaluation/{benchmark}/{name}": value for name, value in values.items()}


def evaluate(
    prompts: Sequence[Prompt],
    rollout: RolloutEngine,
    reward: Reward,
    sampling: Sampling,
    *,
    num_samples: int,
    seed: int,
) -> BenchmarkResult:
    """Samples each prompt `num_samples` times and grades; the same seeds for every policy, so that
    two policies are compared on the same draws."""
    start = time.perf_counter()
    groups = sample_groups(
        [(0, prompt) for prompt in prompts],
        rollout,
        sampling,
        group_size=num_samples,
        seed=seed,
        generation=0,
    )
    groups = score(groups, reward)
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    return BenchmarkResult(
        num_samples=num_samples,
        problem_ids=[prompt.prompt_id for prompt in prompts],
        num_correct=[sum(reward == 1 for reward in group.rewards) for group in groups],
        tokens_mean=sum(len(r.token_ids) for r in rollouts) / len(rollouts),
        truncated_fraction=sum(r.finish_reason == "length" for r in rollouts) / len(rollouts),
        seconds=time.perf_counter() - start,
    )


def evaluate_benchmarks(
    benchmarks: Mapping[str, Sequence[Prompt]],
    rollout: RolloutEngine,
    reward: Reward,
    sampling: Sampling,
    *,
    num_samples: int,
    seed: int,
) -> dict[str, Any]:
    """One row of the run's record with every benchmark's result."""
    row: dict[str, Any] = {}
    for benchmark, prompts in benchmarks.items():
        result = evaluate(prompts, rollout, reward, sampling, num_samples=num_samples, seed=seed)
        row |= result.row(benchmark)
    return row
