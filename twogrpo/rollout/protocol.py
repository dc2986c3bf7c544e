"""What the loop asks of a sampler and of a policy; it knows nothing else of either."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from twogrpo import types
from twogrpo.config.schema import Evaluation, Rollout
from twogrpo.core.surrogates import SurrogateFunction


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. `top_k` = 0 and `top_p` = 1 cut nothing."""

    temperature: float
    top_p: float
    top_k: int
    max_response_tokens: int

    @classmethod
    def of(cls, drawn: Rollout | Evaluation, max_response_tokens: int) -> Sampling:
        """As the configuration of training or of an evaluation says."""
        return cls(drawn.temperature, drawn.top_p, drawn.top_k, max_response_tokens)


class RolloutEngine(Protocol):
    """Draws responses from π_old."""

    def sample(
        self,
        prompts: Sequence[types.Prompt],
        seeds_PG: Sequence[Sequence[int]],
        sampling: Sampling,
    ) -> list[tuple[types.Rollout, ...]]:
        """For each prompt one response a seed. A response depends on weights, prompt and seed only,
        never on what else is in the batch (beyond rounding)."""
        ...

    def load(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """π_old ← π_θ, by Hugging Face parameter names, all of them."""
        ...

    def rest(self) -> None:
        """Leaves the device's memory to the policy, which is updated next; `load` follows."""
        ...

    def close(self) -> None:
        """Frees what it holds."""
        ...


@dataclass(frozen=True)
class UpdateMetrics:
    """Of one optimiser step; clip fractions are shares of the `num_tokens` that had a gradient."""

    gradient_norm: float
    learning_rate: float
    clip_fraction_low: float
    clip_fraction_high: float
    num_sequences: int
    num_tokens: int


class Policy(Protocol):
    """π_θ with its optimiser."""

    num_updates: int

    def token_logps(self, sequences: Sequence[types.Sequence]) -> list[torch.Tensor]:
        """Log-probabilities of each sequence's response tokens, in order; no gradient."""
        ...

    def update(self, sequences: Sequence[types.Sequence]) -> UpdateMetrics:
        """One optimiser step on the weighted sum of the surrogate over all response tokens."""
        ...

    def gradient(
        self, sequences: Sequence[types.Sequence], *, surrogate: SurrogateFunction
    ) -> torch.Tensor:
        """Of the weighted sum of `surrogate` over all response tokens, flat; no step is taken."""
        ...

    def weights(self) -> Iterable[tuple[str, torch.Tensor]]:
        """By Hugging Face parameter names."""
        ...

    def state(self) -> dict[str, torch.Tensor]:
        """Weights and optimiser state, enough to continue bit for bit."""
        ...

    def load_state(self, tensors: dict[str, torch.Tensor], num_updates: int) -> None:
        """The inverse of `state`."""
        ...

    def export(self, folder: Path) -> None:
        """Writes a folder that `transformers` and vLLM load."""
        ...
