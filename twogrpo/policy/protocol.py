"""The interface of a policy: all that the training loop uses of one."""

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
    """The metrics of one optimiser step; clip fractions are shares of `num_tokens`, the tokens of
    sequences with an advantage."""

    gradient_norm: float
    learning_rate: float
    clip_fraction_low: float
    clip_fraction_high: float
    num_sequences: int
    num_tokens: int


class TokenLogprobs(Protocol):
    """The policy or the reference policy."""

    def token_logps(self, sequences: Sequence[TrainingSample]) -> list[torch.Tensor]:
        """The log-probabilities of each sequence's response tokens, in order; no gradient."""
        ...


class Policy(TokenLogprobs, Protocol):
    """π_θ with its optimiser."""

    num_updates: int

    def update(self, sequences: Sequence[TrainingSample]) -> UpdateMetrics:
        """Takes one optimiser step on the weighted sum of the surrogate over response tokens."""
        ...

    def gradient(
        self, sequences: Sequence[TrainingSample], *, surrogate: SurrogateFunction
    ) -> torch.Tensor:
        """The gradient of the weighted sum of `surrogate` over response tokens, flat; no step."""
        ...

    def weights(self) -> Iterable[tuple[str, torch.Tensor]]:
        """The weights by Hugging Face parameter names."""
        ...

    def state(self) -> dict[str, torch.Tensor]:
        """The weights and the optimiser's state, enough to continue bit for bit."""
        ...

    def load_state(self, tensors: dict[str, torch.Tensor], num_updates: int) -> None:
        """Restores what `state` returned."""
        ...

    def export(self, folder: Path) -> None:
        """Writes a folder that `transformers` and vLLM can load."""
        ...
