"""The tokens that end a response: a set, from all that a model's folder says of it."""

from __future__ import annotations

import json
from typing import Any

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

from twogrpo.config.schema import ModelConfig
from twogrpo.data.templates import CHAT, apply_chat_template
from twogrpo.errors import ConfigError
from twogrpo.models.load import load_config, source

AUTO = "auto"
_FILE = "generation_config.json"
# What ends a turn in the templates that are not the tokenizer's own.
_TURN_ENDS = {"qwen25_math": "<|im_end|>"}
_CONTENT = "42"  # of an assistant's turn, to see what the chat template puts after it


def end_token_ids(model: ModelConfig, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The ids in ascending order: `model.end_tokens`, or where it is `auto` those of the tokenizer,
    of config.json and generation_config.json, and what the prompt template puts after a turn.

    Raises:
        ConfigError: there is none, or one is no token of the model.
    """
    config = load_config(model)
    text = config.get_text_config()
    named: dict[str, Any] = {"model.end_tokens": model.end_tokens}
    if model.end_tokens == AUTO:
        named = {
            "its tokenizer": tokenizer.eos_token_id,
            "its config.json": getattr(config, "eos_token_id", None),
            "its text_config": getattr(text, "eos_token_id", None),
            f"its {_FILE}": _generation_config(model).get("eos_token_id"),
            f"model.prompt_template={model.prompt_template}": _turn_end(model, tokenizer),
        }
    found = set[int]()
    for where, ids in named.items():
        for token in ids if isinstance(ids, list) else [] if ids is None else [ids]:
            if type(token) is not int or not 0 <= token < text.vocab_size:
                raise ConfigError(
                    f"model.path={model.path}: the end token {token!r} of {where} is none of its "
                    f"vocab_size={text.vocab_size} tokens: give a list of ids, model.end_tokens=[…]"
                    ", or the model's own tokenizer"
                )
            found.add(token)
    if not found:
        raise ConfigError(
            f"model.path={model.path}: model.end_tokens={model.end_tokens} names no end token: "
            "give ids, model.end_tokens=[…]"
        )
    return tuple(sorted(found))


def end_token_names(model: ModelConfig, tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    """Each id, as text for JSON, with the token that it is."""
    return {str(i): tokenizer.decode([i]) for i in end_token_ids(model, tokenizer)}


def _generation_config(model: ModelConfig) -> dict[str, Any]:
    path = source(model) / _FILE
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"model.path={model.path}: its {_FILE} is no JSON object ({error}): mend or delete it"
        ) from error


def _turn_end(model: ModelConfig, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The special token right after an assistant's message; None if there is none."""
    if model.prompt_template in CHAT and tokenizer.chat_template is not None:
        turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _CONTENT}]
        try:
            text = apply_chat_template(tokenizer, turns)
        except TemplateError:  # it takes no answer, so it ends none
            return None
        after = text.rpartition(_CONTENT)[2].lstrip()
    else:
        after = _TURN_ENDS.get(model.prompt_template, "")
    first = tokenizer(after, add_special_tokens=False)["input_ids"][:1]
    return first[0] if first and first[0] in tokenizer.added_tokens_decoder else None
