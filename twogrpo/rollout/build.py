"""Builds the configured sampler; vLLM is imported only if it is selected."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from twogrpo.config.schema import HardwareConfig, ModelConfig, RolloutConfig
from twogrpo.data.images import ImageProcessor
from twogrpo.errors import ConfigError
from twogrpo.models.load import DTYPES, check_context, load_model
from twogrpo.rollout.protocol import Sampler
from twogrpo.rollout.transformers_sampler import TransformersSampler


def build_sampler(
    rollout: RolloutConfig,
    model: ModelConfig,
    hardware: HardwareConfig,
    tokenizer: PreTrainedTokenizerBase,
    *,
    context_tokens: int | None = None,
    image_processor: ImageProcessor | None = None,
) -> Sampler:
    """The sampler with the initial weights, for prompt and response of up to `context_tokens`.

    Raises:
        ConfigError: the engine is unknown, not installed, or does not support the model or device.
    """
    if rollout.engine == "transformers":
        loaded = load_model(model)
        check_context(loaded.config, model.path, context_tokens)
        return TransformersSampler(
            loaded,
            tokenizer,
            device=hardware.device,
            dtype=DTYPES[hardware.sampler_dtype],
            rollouts_per_call=hardware.rollouts_per_call,
            image_processor=image_processor,
        )
    if rollout.engine == "vllm":
        from twogrpo.rollout.vllm_sampler import VllmSampler

        return VllmSampler(
            tokenizer,
            model,
            hardware,
            context_tokens=context_tokens,
            image_processor=image_processor,
        )
    raise ConfigError(f"rollout.engine={rollout.engine} is unknown: use transformers or vllm")
