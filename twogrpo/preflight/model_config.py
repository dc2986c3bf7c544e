"""A model folder's `config.json`, read with suspicion: what is null, what is no size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twogrpo.errors import ConfigError

# Numbers of experts in a layer, by family (Qwen, DeepSeek, Mixtral).
MIXTURES = ("num_experts", "n_routed_experts", "num_local_experts")


def read_config(file: Path) -> dict[str, Any]:
    """Its values, those of a `text_config` before those beside it.

    Raises:
        ConfigError: it is no JSON object, or describes a mixture of experts.
    """
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        values = {**values, **(values.get("text_config") or {})}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(
            f"{file} is no model's config.json ({error}): give a folder as save_pretrained writes"
        ) from error
    for key in MIXTURES:
        if isinstance(values.get(key), int) and values[key] > 1:
            raise ConfigError(
                f"{file}: {key}={values[key]} is a mixture of experts, and only dense models are "
                "planned from a folder: give one (docs/scaling.md has a published mixture)"
            )
    return values


def size(values: dict[str, Any], key: str, file: Path, *, default: int | None = None) -> int:
    """A size, or its default where it is null or not there.

    Raises:
        ConfigError: there is neither, or it is no whole number of 1 or more.
    """
    value = default if values.get(key) is None else values[key]
    if value is None:
        raise ConfigError(f"{file} has no {key}: its sizes cannot be planned with")
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{file}: {key}={value!r} is no size: use a whole number of 1 or more")
    return value


def count_parameters(folder: Path) -> int:
    """Of a vision-language model, its tower among them: of the class itself, which takes no memory.

    Raises:
        ConfigError: its class is not known here.
    """
    import torch  # with the next line a few seconds, and most models have no tower
    from transformers import AutoConfig, AutoModelForImageTextToText

    try:
        config = AutoConfig.from_pretrained(folder)
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(config)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"{folder}/config.json has a vision_config that cannot be built ({reason}): give the "
            "folder of a vision-language model that transformers knows"
        ) from error
    return sum(parameter.numel() for parameter in model.parameters())
