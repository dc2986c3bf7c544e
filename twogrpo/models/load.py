"""Makes the sampler and the policy that a configuration names; heavy imports wait until then."""

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
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.logging import disable_progress_bar

from twogrpo.config.schema import (
    Config,
    ConfigError,
    Hardware,
    Model,
    Rollout,
)
from twogrpo.core.surrogates import SURROGATES
from twogrpo.data.images import Pictures
from twogrpo.distributed.process_group import Ranks
from twogrpo.models import hub
from twogrpo.models.context_length import check_context
from twogrpo.policy.logprob_model import Knobs, ScoringModel
from twogrpo.policy.policy import (
    Adam,
    Objective,
    TransformersPolicy,
)
from twogrpo.rollout.protocol import RolloutEngine
from twogrpo.rollout.transformers_sampler import TransformersRollout

# One load takes milliseconds here or is vLLM's to show; a bar for each hides the run's own lines.
disable_progress_bar()

ROOT = Path(__file__).resolve().parent.parent.parent
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# The families of vision-language models that twogrpo/models/image_inputs.py knows.
TAKE_PICTURES = ("qwen2_vl", "qwen2_5_vl")
PROCESSOR_FILES = (
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "processor_config.json",
    "chat_template.json",
)


def load_model(model: Model) -> PreTrainedModel:
    """The model in float32. Remote code is never run, weights come from safetensors only.

    Raises:
        ConfigError: the folder or hub id cannot be loaded.
    """
    takes_pictures = _load(AutoConfig, model).model_type in TAKE_PICTURES
    loaded: PreTrainedModel = _load(
        AutoModelForImageTextToText if takes_pictures else AutoModelForCausalLM,
        model,
        dtype=torch.float32,
        use_safetensors=True,
    )
    # Sampling comes from conf/ alone: what the folder's generation_config.json says is forgotten.
    loaded.generation_config = type(loaded.generation_config)()
    return loaded


def load_tokenizer(model: Model) -> PreTrainedTokenizerBase:
    """The tokenizer that lies beside the model.

    Raises:
        ConfigError: it cannot be loaded or has no end token.
    """
    tokenizer: PreTrainedTokenizerBase = _load(AutoTokenizer, model)
    if tokenizer.eos_token_id is None:
        raise ConfigError(
            f"model.path={model.path}: its tokenizer names no end token, set eos_token"
        )
    return tokenizer


def load_pictures(model: Model) -> Pictures | None:
    """How the model takes pictures; None where it takes none.

    They are resized by torchvision where it is installed, as vLLM does it, else by Pillow: the two
    differ by 1e-3 in log-probabilities. (`AutoProcessor` would want torchvision, for videos.)

    Raises:
        ConfigError: its image processor cannot be loaded.
    """
    config = _load(AutoConfig, model)
    if config.model_type not in TAKE_PICTURES:
        return None
    processor = _load(AutoImageProcessor, model)
    local = Path(_source(model))
    folder = local if local.is_dir() else hub.snapshot(model.path, model.revision)
    paths = [folder / name for name in PROCESSOR_FILES if (folder / name).is_file()]
    files = {path.name: path.read_bytes() for path in paths}
    return Pictures(processor, config.image_token_id, files)


def knobs(hardware: Hardware) -> Knobs:
    """What a policy takes of conf/hardware/."""
    return Knobs(
        device=hardware.device,
        dtype=DTYPES[hardware.dtype],
        tokens_per_microbatch=hardware.tokens_per_microbatch,
        logits_chunk_tokens=hardware.logits_chunk_tokens,
        activation_checkpointing=hardware.activation_checkpointing,
        cpu_offload=hardware.cpu_offload,
        compile=hardware.compile,
    )


def build_policy(
    config: Config,
    tokenizer: PreTrainedTokenizerBase,
    ranks: Ranks,
    pictures: Pictures | None = None,
) -> TransformersPolicy:
    """π_θ at the start weights."""
    training = config.training
    return TransformersPolicy(
        load_model(config.model),
        tokenizer,
        objective=Objective(
            surrogate=SURROGATES[config.algorithm.surrogate],
            clip_low=config.algorithm.clip_low,
            clip_high=config.algorithm.clip_high,
            temperature=config.rollout.temperature,
            importance_sampling_cap=config.algorithm.importance_sampling_cap,
        ),
        adam=Adam(
            learning_rate=config.learning_rate,
            warmup_updates=training.warmup_updates,
            betas=(training.adam_beta1, training.adam_beta2),
            epsilon=training.adam_epsilon,
            gradient_clip_norm=training.gradient_clip_norm,
        ),
        knobs=knobs(config.hardware),
        ranks=ranks,
        pictures=pictures,
    )


def build_start_policy(
    config: Config, ranks: Ranks, pictures: Pictures | None = None
) -> ScoringModel:
    """The start policy, frozen: what KL is measured against."""
    scoring = ScoringModel(
        load_model(config.model),
        temperature=config.rollout.temperature,
        knobs=knobs(config.hardware),
        ranks=ranks,
        pictures=pictures,
    )
    return scoring.requires_grad_(False)


def build_rollout(
    rollout: Rollout,
    model: Model,
    hardware: Hardware,
    tokenizer: PreTrainedTokenizerBase,
    *,
    context_tokens: int | None = None,
    pictures: Pictures | None = None,
) -> RolloutEngine:
    """The sampler at the start weights, for prompts with responses of up to `context_tokens`.

    Raises:
        ConfigError: the engine is unknown or missing, or does not suit the model or the machine.
    """
    if rollout.engine == "transformers":
        loaded = load_model(model)
        check_context(loaded.config, model.path, context_tokens)
        return TransformersRollout(
            loaded,
            tokenizer,
            device=hardware.device,
            dtype=DTYPES[hardware.sampler_dtype],
            rollouts_per_call=hardware.rollouts_per_call,
            pictures=pictures,
        )
    if rollout.engine == "vllm":
        return _vllm_rollout(model, hardware, tokenizer, context_tokens, pictures)
    raise ConfigError(f"rollout.engine={rollout.engine} is unknown: use transformers or vllm")


def _vllm_rollout(
    model: Model,
    hardware: Hardware,
    tokenizer: PreTrainedTokenizerBase,
    context_tokens: int | None,
    pictures: Pictures | None,
) -> RolloutEngine:
    from twogrpo.rollout.vllm_sampler import VllmRollout
    from twogrpo.rollout.vllm_setup import Settings

    return VllmRollout(
        tokenizer,
        Settings(
            path=_source(model),
            revision=model.revision,
            device=hardware.device,
            dtype=hardware.sampler_dtype,
            context_tokens=context_tokens,
            rollouts_per_call=hardware.rollouts_per_call,
            kv_cache_gib=hardware.kv_cache_gib,
            gpu_memory_share=hardware.gpu_memory_share,
            tensor_parallel_size=hardware.tensor_parallel_size,
            sleep_level=hardware.sleep_level,
        ),
        pictures=pictures,
    )


def _source(model: Model) -> str:
    """A folder, relative to the repository's root, or else a hub id."""
    local = Path(model.path) if Path(model.path).is_absolute() else ROOT / model.path
    return str(local) if local.is_dir() else model.path


def _load(auto_class: type, model: Model, **kwargs: object):  # type: ignore[no-untyped-def]
    try:
        return auto_class.from_pretrained(  # type: ignore[attr-defined]
            _source(model), revision=model.revision, trust_remote_code=False, **kwargs
        )
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"model.path={model.path} cannot be loaded ({reason}): give a folder with weights "
            "(safetensors), config and tokenizer, or a hub id that can be reached"
        ) from error
