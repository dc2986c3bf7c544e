"""Loads the model, the tokenizer and the image processor that a configuration names."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from twogrpo.config.identity import flatten
from twogrpo.config.schema import ModelConfig
from twogrpo.data.images import ImageProcessor
from twogrpo.data.prompts import PromptProcessor
from twogrpo.errors import ConfigError, Fault, out_of_memory
from twogrpo.models import hub
from twogrpo.models.weights import check_loaded, check_stored

# A progress bar for each load would hide the run's own lines.
transformers_logging.disable_progress_bar()

ROOT = Path(__file__).resolve().parent.parent.parent
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# The families of vision-language models that twogrpo/models/image_inputs.py supports.
IMAGE_MODEL_TYPES = ("qwen2_vl", "qwen2_5_vl")
MOST_LAYERS, MOST_WIDE = 10_000, 10**8
PROCESSOR_FILES = (
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "processor_config.json",
    "chat_template.json",
)


def load_config(model: ModelConfig) -> PretrainedConfig:
    """Loads the model's own configuration.

    Raises:
        ConfigError: it cannot be loaded, or a value is NaN or a size that no model has.
    """
    config: PretrainedConfig = _load(AutoConfig, model)
    written = json.loads((source(model) / "config.json").read_text(encoding="utf-8"))
    for key, value in flatten(written).items():
        if isinstance(value, float) and math.isnan(value):
            raise ConfigError(f"model.path={model.path}: its config.json has {key}=NaN: set it")
        # Building it would take all memory, or for ever.
        most = MOST_LAYERS if key.endswith("num_hidden_layers") else MOST_WIDE
        if key.endswith(("_layers", "_size", "_heads")) and isinstance(value, int) and value > most:
            raise ConfigError(
                f"model.path={model.path}: its config.json has {key}={value}: use {most} or less"
            )
    return config


def load_model(model: ModelConfig) -> PreTrainedModel:
    """Loads the model in float32. Remote code is never run; weights come from safetensors only.

    Of generation_config.json it keeps the ids that begin, end and pad a sequence: sampling is set
    in conf/ alone.

    Raises:
        ConfigError: the folder or hub id cannot be loaded, or its weights are not exactly those of
            the model that its config.json describes.
    """
    config = load_config(model)
    if getattr(config, "quantization_config", None) is not None:
        raise ConfigError(
            f"model.path={model.path} holds quantised weights (quantization_config), which are not "
            "supported here: give them in float32 or bfloat16"
        )
    takes_images = config.model_type in IMAGE_MODEL_TYPES
    check_stored(source(model), model.path)
    loaded, report = _load(
        AutoModelForImageTextToText if takes_images else AutoModelForCausalLM,
        model,
        dtype=torch.float32,
        use_safetensors=True,
        ignore_mismatched_sizes=True,  # check_loaded names them
        output_loading_info=True,
    )
    check_loaded(loaded, report, model.path)
    kept = ("bos_token_id", "eos_token_id", "pad_token_id")
    ids = {key: getattr(loaded.generation_config, key, None) for key in kept}
    loaded.generation_config = GenerationConfig(**ids)
    return loaded


def load_tokenizer(model: ModelConfig) -> PreTrainedTokenizerBase:
    """Loads the tokenizer in the model's folder; raises ConfigError if it cannot."""
    tokenizer: PreTrainedTokenizerBase = _load(AutoTokenizer, model)
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
    folder = source(model)
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


def source(model: ModelConfig) -> Path:
    """The model's folder, found from the repository's root, or else its snapshot of the hub.

    Raises:
        ConfigError: there is neither, or it holds an adapter, which would not be applied.
    """
    local = Path(model.path) if Path(model.path).is_absolute() else ROOT / model.path
    folder = local if local.is_dir() else hub.snapshot(model.path, model.revision)
    if adapter := next(folder.glob("adapter*.*"), None):
        raise ConfigError(
            f"model.path={model.path} holds an adapter ({adapter.name}), which is not applied "
            "here: give the merged folder beside it (a run's final/), or merge it into the weights "
            "first (peft's merge_and_unload)"
        )
    return folder


@contextmanager
def refused(model: ModelConfig, what: str = "cannot be loaded") -> Iterator[None]:
    """Raises whatever transformers raises because of a model's folder as a ConfigError.

    That is nearly anything (TypeError, KeyError, ImportError, ZeroDivisionError, …), since the
    values in the folder's files reach it unchecked. Its own warnings are hidden: it warns of what
    is refused here, and of weights that it lacks with a report of 40 lines.
    """
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    except Exception as error:
        if isinstance(error, ConfigError | Fault) or out_of_memory(error):
            raise
        raise ConfigError(
            f"model.path={model.path} {what} ({type(error).__name__}: {one_line(error)}): give a "
            "folder with weights (safetensors), config and tokenizer, or a hub id that can be "
            "reached"
        ) from error
    finally:
        transformers_logging.set_verbosity(verbosity)


def one_line(error: BaseException) -> str:
    """The error message on one line, at most 300 characters."""
    words = " ".join(str(error).partition(" [type=")[0].split())  # pydantic adds its input there
    return words if len(words) <= 300 else f"{words[:300]} …"


def _load(auto_class: type, model: ModelConfig, **kwargs: object):  # type: ignore[no-untyped-def]
    with refused(model):
        return auto_class.from_pretrained(  # type: ignore[attr-defined]
            str(source(model)), trust_remote_code=False, **kwargs
        )
