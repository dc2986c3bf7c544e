"""Makes every step of a benchmark the same work, and writes down what work it was.

The policy stands still: conf/benchmark.yaml's learning rate is so small that Adam's whole step is
lost in rounding (a weight of 0 becomes 1e-30). So prompts and seeds alone decide what is sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedTokenizerBase

from twogrpo.rewards.protocol import CORRECT, WRONG
from twogrpo.rollout.data_parallel import DataParallelReward, DataParallelSampler
from twogrpo.rollout.protocol import SamplingParams
from twogrpo.training.run import Run
from twogrpo.types import Completion, Prompt, Verdict


@dataclass(frozen=True)
class Call:
    """Of one call of the sampler: tokens of its P prompts, and of the G responses to each."""

    prompts_P: tuple[int, ...]
    lengths_PG: tuple[tuple[int, ...], ...]


@dataclass
class Watched(DataParallelSampler):
    """The sampler of a run; `calls` are those since somebody emptied it."""

    calls: list[Call] = field(default_factory=list)

    def sample(
        self,
        prompts: Sequence[Prompt],
        seeds_PG: Sequence[Sequence[int]],
        sampling: SamplingParams,
    ) -> list[tuple[Completion, ...]]:
        """As the sampler does."""
        found = super().sample(prompts, seeds_PG, sampling)
        lengths_PG = tuple(tuple(len(rollout.token_ids) for rollout in group) for group in found)
        self.calls.append(Call(tuple(len(prompt.token_ids) for prompt in prompts), lengths_PG))
        return found


class Endless:
    """A tokenizer whose end token is never drawn, so that responses are as long as they may be.

    The transformers sampler takes the id that no token has; vLLM wants a real one, and gets the
    padding's or, where that ends texts too, the last of the vocabulary: seldom drawn where that is
    large (`bench` tells of responses that ended).
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, engine: str) -> None:
        self._tokenizer = tokenizer
        padding = tokenizer.pad_token_id
        is_free = padding is not None and padding != tokenizer.eos_token_id
        self.eos_token_id = padding if is_free else len(tokenizer) - 1
        if engine == "transformers":
            self.eos_token_id = -1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


class Alternating:
    """A reward that finds every other response right, so that each group has a gradient."""

    grades_truncated = True

    def grade(self, responses: Sequence[str], references: Sequence[str]) -> list[Verdict]:
        """Right, wrong, right, wrong, …"""
        return [WRONG if i % 2 else CORRECT for i in range(len(responses))]

    def close(self) -> None:
        """Holds nothing."""


def watch(run: Run, *, work: str) -> Watched:
    """Puts itself before the run's sampler; with work=full, sampler and reward do their utmost."""
    assert isinstance(run.collector.sampler, DataParallelSampler)
    if work == "full":
        engine: Any = run.collector.sampler.engine
        engine.tokenizer = Endless(engine.tokenizer, engine=run.config.rollout.engine)
        run.collector.reward.close()
        # After the shares of all ranks are gathered, or a rank would see one half of each pair.
        run.collector.reward = Alternating()
    else:
        assert isinstance(run.collector.reward, DataParallelReward)
    watched = Watched(
        run.collector.sampler.engine, run.ranks, run.collector.sampler.tensor_parallel_size
    )
    run.collector.sampler = watched
    return watched
