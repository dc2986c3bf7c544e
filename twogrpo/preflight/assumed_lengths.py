"""Mean lengths: hours and a part of the memory hang on them, and nobody knows them before."""

from __future__ import annotations

from dataclasses import dataclass

from twogrpo.config.schema import Config


@dataclass(frozen=True)
class Lengths:
    """Mean tokens of a prompt and of a response over the whole run."""

    prompt: float
    response: float


def lengths_of(
    config: Config, *, prompt: float | None = None, response: float | None = None
) -> Lengths:
    """As given; else assumed (ours): 150 or half of the longest prompt, a fifth of the longest
    response."""
    limits = config.dataset
    return Lengths(
        prompt=min(150.0, limits.max_prompt_tokens / 2) if prompt is None else prompt,
        response=limits.max_response_tokens / 5 if response is None else response,
    )
