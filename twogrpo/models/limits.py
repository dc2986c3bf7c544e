"""What a model's configuration allows: how many tokens in a sequence, and which token ids.

Beyond a limit of length the model is not the one that we compute: it has no more positions, attends
within a window only, or changes its positions (RoPE) with the length of the longest sequence of a
batch, so that a response's log-probabilities would depend on its neighbours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from transformers import PretrainedConfig

from twogrpo.errors import ConfigError
from twogrpo.types import Prompt

# sliding_window, attention_chunk_size (Llama 4), window_size (GPT-Neo), keep_window_size (Doge), …
_WINDOW = re.compile(r"(\w+_)?window(_size)?|attention_chunk_size|local_attention")
# Types of RoPE whose frequencies depend on the length; "su" is LongRoPE's earlier name.
_ROPE_BY_LENGTH = ("longrope", "su", "dynamic")


def check_context(config: PretrainedConfig, path: str, context_tokens: int | None) -> None:
    """Refuses prompts with responses of `context_tokens` tokens if the model has a lower limit.

    Raises:
        ConfigError: a sequence may be longer than the model's positions, its attention window or
            the length at which its RoPE changes.
    """
    for limit, what in _limits(config.get_text_config()):
        if context_tokens is not None and context_tokens > limit:
            raise ConfigError(
                f"model.path={path} {what}, but prompt and response may need "
                f"{context_tokens}: lower dataset.max_response_tokens, "
                "evaluation.max_response_tokens or dataset.max_prompt_tokens"
            )


def check_token_ids(config: PretrainedConfig, path: str, prompts: Iterable[Prompt]) -> None:
    """Raises ConfigError if a prompt has a token that the model has no embedding of."""
    size = config.get_text_config().vocab_size
    for prompt in prompts:
        if (highest := max(prompt.token_ids, default=0)) >= size:
            raise ConfigError(
                f"model.path={path}: its tokenizer gives prompt {prompt.prompt_id} the token "
                f"{highest}, beyond its vocab_size={size}: use the model's own tokenizer"
            )


def _limits(text: Any) -> Iterator[tuple[int, str]]:
    """Each limit in tokens, with a clause about the model."""
    positions = getattr(text, "max_position_embeddings", None)
    if positions is not None:
        yield positions, f"has a context of {positions} tokens"
    for key, window in text.to_dict().items():
        if _WINDOW.fullmatch(key) and type(window) is int and _uses_window(text):
            yield window, f"attends within {key}={window} tokens, which is not supported here"
    found = getattr(text, "rope_parameters", None) or {}
    # Families with several kinds of layers have the parameters of each.
    for rope in (found, *(part for part in found.values() if isinstance(part, dict))):
        if (kind := rope.get("rope_type")) in _ROPE_BY_LENGTH:
            limit = rope.get("original_max_position_embeddings") or positions or 0
            yield limit, f"changes its positions beyond {limit} tokens (rope_type={kind})"


def _uses_window(text: Any) -> bool:
    if getattr(text, "use_sliding_window", True) is False:
        return False
    # Only a family that declares layer_types reads it: Mistral's layers all have the window.
    declares = "layer_types" in getattr(type(text), "__dataclass_fields__", {})
    kinds = (declares and text.layer_types) or ["sliding_attention"]
    return any(kind != "full_attention" for kind in kinds)
