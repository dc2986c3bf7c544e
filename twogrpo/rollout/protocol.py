"""The sampler's interface to the training loop."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from transformers import PreTrainedTokenizerBase

from twogrpo.config.schema import EvaluationConfig, RolloutConfig
from twogrpo.errors import NotFiniteFault
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


def completion(
    token_ids: Sequence[int],
    logps: Sequence[float],
    tokenizer: PreTrainedTokenizerBase,
    end_token_ids: Collection[int],
) -> Completion:
    """The sampled tokens as a completion; the end token is one of them, but not of the text.

    Raises:
        NotFiniteFault: a log-probability is NaN or infinite, so the weights or the temperature are
            unusable, and a group of such responses would pass for one without a signal.
    """
    if not all(map(math.isfinite, logps)):
        bad = next(logp for logp in logps if not math.isfinite(logp))
        raise NotFiniteFault(
            f"the log-probability of a sampled token is {bad}: the weights are not finite, or the "
            "temperature is too low for their logits"
        )
    is_ended = token_ids[-1] in end_token_ids
    text_ids = token_ids[:-1] if is_ended else token_ids
    return Completion(
        token_ids=tuple(token_ids),
        sampler_logps=tuple(logps),
        text=str(tokenizer.decode(text_ids, skip_special_tokens=True)),
        finish_reason="stop" if is_ended else "length",
    )
