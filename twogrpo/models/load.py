"""Loads the model, the tokenizer and the image processor that a configuration names."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.logging import disable_progress_bar

from twogrpo.config.schema import ModelConfig
from twogrpo.data.images import ImageProcessor
from twogrpo.data.prompts import PromptProcessor
from twogrpo.errors import ConfigError
from twogrpo.models import hub

# A progress bar for each load would hide the run's own lines.
disable_progress_bar()

ROOT = Path(__file__).resolve().parent.parent.parent
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# The families of vision-language models that twogrpo/models/image_inputs.py supports.
IMAGE_MODEL_TYPES = ("qwen2_vl", "qwen2_5_vl")
PROCESSOR_FILES = (
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "processor_config.json",
    "chat_template.json",
)


def load_config(model: ModelConfig) -> PretrainedConfig:
    """Loads the model's own configuration; raises ConfigError if it cannot."""
    config: PretrainedConfig = _load(AutoConfig, model)
    return config


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


def load_model(model: ModelConfig) -> PreTrainedModel:
    """Loads the model in float32. Remote code is never run; weights come from safetensors only.

    Raises:
        ConfigError: the folder or hub id cannot be loaded.
    """
    takes_images = load_config(model).model_type in IMAGE_MODEL_TYPES
    loaded: PreTrainedModel = _load(
        AutoModelForImageTextToText if takes_images else AutoModelForCausalLM,
        model,
        dtype=torch.float32,
        use_safetensors=True,
    )
    # Sampling is set in conf/ alone, never by the folder's generation_config.json.
    loaded.generation_config = type(loaded.generation_config)()
    return loaded


def load_tokenizer(model: ModelConfig) -> PreTrainedTokenizerBase:
    """Loads the tokenizer in the model's folder.

    Raises:
        ConfigError: it cannot be loaded or has no end token.
    """
    tokenizer: PreTrainedTokenizerBase = _load(AutoTokenizer, model)
    if tokenizer.eos_token_id is None:
        raise ConfigError(
            f"model.path={model.path}: its tokenizer names no end token, set eos_token"
        )
    return tokenizer


def load_image_processor(model: ModelConfig) -> ImageProcessor | None:
    """Loads the model's image processor; None for a model that takes text only.

    Images are resized by torchvision if it is installed, as in vLLM, else by Pillow: the two differ
    by 1e-3 in log-probabilities. (`AutoProcessor` would require torchvision, for videos.)

    Raises:
        ConfigError: its image processor cannot be loaded.
    """
    config = load_config(model)
    if config.model_type not in IMAGE_MODEL_TYPES:
        return None
    processor = _load(AutoImageProcessor, model)
    local = Path(source(model))
    folder = local if local.is_dir() else hub.snapshot(model.path, model.revision)
    paths = [folder / name for name in PROCESSOR_FILES if (folder / name).is_file()]
    files = {path.name: path.read_bytes() for path in paths}
    return ImageProcessor(processor, config.image_token_id, files)


def load_processor(model: ModelConfig) -> PromptProcessor:
    """How problems become prompts of this model: tokenizer, template and image processor.

    Raises:
        ConfigError: one of them cannot be loaded.
    """
    tokenizer, images = load_tokenizer(model), load_image_processor(model)
    return PromptProcessor(tokenizer, model.prompt_template, images)


def source(model: ModelConfig) -> str:
    """The model's folder, relative to the repository's root, or else its hub id."""
    local = Path(model.path) if Path(model.path).is_absolute() else ROOT / model.path
    return str(local) if local.is_dir() else model.path


def _load(auto_class: type, model: ModelConfig, **kwargs: object):  # type: ignore[no-untyped-def]
    try:
        return auto_class.from_pretrained(  # type: ignore[attr-defined]
            source(model), revision=model.revision, trust_remote_code=False, **kwargs
        )
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"model.path={model.path} cannot be loaded ({reason}): give a folder with weights "
            "(safetensors), config and tokenizer, or a hub id that can be reached"
        ) from error
