"""Prompt templates: a problem's text as the model is asked it."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from twogrpo.config import ConfigError

TEMPLATES = ("plain",)


def render(problem: str, *, template: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Token ids of the templated problem.

    Raises:
        ConfigError: the template is unknown.
    """
    if template == "plain":
        return list(tokenizer(problem, add_special_tokens=False)["input_ids"])
    raise ConfigError(
        f"model.prompt_template={template} is unknown: use one of {', '.join(TEMPLATES)}"
    )
