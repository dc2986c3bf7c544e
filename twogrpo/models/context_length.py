"""The limit that every engine has: the number of positions of the model."""

from __future__ import annotations

from transformers import PretrainedConfig

from twogrpo.errors import ConfigError


def check_context(config: PretrainedConfig, path: str, context_tokens: int | None) -> None:
    """Refuses prompts with responses of `context_tokens` tokens if the model has fewer positions.

    Raises:
        ConfigError: the model has fewer; beyond its last position it would write nonsense.
    """
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    if limit and context_tokens and context_tokens > limit:
        raise ConfigError(
            f"model.path={path} has a context of {limit} tokens, but prompt and response may need "
            f"{context_tokens}: lower dataset.max_response_tokens, "
            "evaluation.max_response_tokens or dataset.max_prompt_tokens"
        )
