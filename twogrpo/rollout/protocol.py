"""What the loop asks of a sampler; it knows nothing else of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from twogrpo.config.schema import EvaluationConfig, RolloutConfig
from twogrpo.types import Completion, Prompt


@dataclass(frozen=True)
class SamplingParams:
    """How tokens are drawn. `top_k` = 0 and `top_p` = 1 cut nothing."""

    temperature: float
    top_p: float
    top_k: int
    max_response_tokens: int

    @classmethod
    def of(
        cls, drawn: RolloutConfig | EvaluationConfig, max_response_tokens: int
    ) -> SamplingParams:
        """As the configuration of training or of an evaluation says."""
        return cls(drawn.temperature, drawn.top_p, drawn.top_k, max_response_tokens)


class Sampler(Protocol):
    """Draws responses from π_old."""

    def sample(
        self,
        prompts: Sequence[Prompt],
        seeds_PG: Sequence[Sequence[int]],
        sampling: SamplingParams,
    ) -> list[tuple[Completion, ...]]:
        """For each prompt one response a seed. A response depends on weights, prompt and seed only,
        never on what else is in the batch (beyond rounding)."""
        ...

    def load(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """π_old ← π_θ, by Hugging Face parameter names, all of them."""
        ...

    def sleep(self) -> None:
        """Leaves the device's memory to the policy, which is updated next; `load` follows."""
        ...

    def close(self) -> None:
        """Frees what it holds."""
        ...
