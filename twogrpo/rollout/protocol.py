"""The sampler's interface to the training loop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from twogrpo.config.schema import EvaluationConfig, RolloutConfig
from twogrpo.types import Completion, Prompt


@dataclass(frozen=True)
class SamplingParams:
    """The parameters of token sampling. `top_k` = 0 and `top_p` = 1 disable truncation."""

    temperature: float
    top_p: float
    top_k: int
    max_response_tokens: int

    @classmethod
    def of(
        cls, drawn: RolloutConfig | EvaluationConfig, max_response_tokens: int
    ) -> SamplingParams:
        """The parameters of a training or evaluation configuration."""
        return cls(drawn.temperature, drawn.top_p, drawn.top_k, max_response_tokens)


class Sampler(Protocol):
    """Draws responses from π_old."""

    def sample(
        self,
        prompts: Sequence[Prompt],
        seeds_PG: Sequence[Sequence[int]],
        sampling: SamplingParams,
    ) -> list[tuple[Completion, ...]]:
        """Samples one response per seed of each prompt. A response depends on weights, prompt and
        seed only, not on the rest of the batch (up to rounding)."""
        ...

    def load(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """π_old ← π_θ, with all parameters by their Hugging Face names."""
        ...

    def sleep(self) -> None:
        """Frees device memory for the policy update; `load` follows."""
        ...

    def close(self) -> None:
        """Frees all resources."""
        ...
