"""The one limit that every engine has: how many tokens a model was made for."""

from __future__ import annotations

from transformers import PretrainedConfig

from twogrpo.errors import ConfigError


def check_context(config: PretrainedConfig, path: str, wanted: int | None) -> None:
    """Refuses prompts with responses of `wanted` tokens that a model has no positions for.

    Raises:
        ConfigError: beyond them it would go on and write nonsense.
    """
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    if limit and wanted and wanted > limit:
        raise ConfigError(
            f"model.path={path} has a context of {limit} tokens, but prompt and response may need "
            f"{wanted}: lower dataset.max_response_tokens, evaluation.max_response_tokens or "
            "dataset.max_prompt_tokens"
        )
