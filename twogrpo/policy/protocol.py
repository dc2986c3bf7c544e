"""What the loop asks of a policy; it knows nothing else of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from twogrpo.core.surrogates import SurrogateFunction
from twogrpo.types import TrainingSample


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

    def token_logps(self, sequences: Sequence[TrainingSample]) -> list[torch.Tensor]:
        """Log-probabilities of each sequence's response tokens, in order; no gradient."""
        ...

    def update(self, sequences: Sequence[TrainingSample]) -> UpdateMetrics:
        """One optimiser step on the weighted sum of the surrogate over all response tokens."""
        ...

    def gradient(
        self, sequences: Sequence[TrainingSample], *, surrogate: SurrogateFunction
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


class TokenLogprobs(Protocol):
    """The policy or the reference model."""

    def token_logps(self, sequences: Sequence[TrainingSample]) -> list[torch.Tensor]:
        """Of each sequence's response tokens; no gradient."""
        ...
