"""Builds the configured sampler; vLLM is imported only if it is selected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from transformers import PreTrainedTokenizerBase

from twogrpo.config.schema import HardwareConfig, ModelConfig, RolloutConfig
from twogrpo.data.images import ImageProcessor
from twogrpo.data.prompts import longest
from twogrpo.errors import ConfigError, NotFiniteFault
from twogrpo.models.end_tokens import end_token_ids
from twogrpo.models.limits import check_context, check_token_ids
from twogrpo.models.load import DTYPES, load_config, load_model, refused
from twogrpo.rollout.protocol import Sampler, SamplingParams
from twogrpo.rollout.transformers_sampler import TransformersSampler
from twogrpo.types import Prompt

# What a sampler will be asked: prompts with the parameters of their responses.
Workload = Sequence[tuple[Sequence[Prompt], SamplingParams]]


def build_sampler(
    rollout: RolloutConfig,
    model: ModelConfig,
    hardware: HardwareConfig,
    tokenizer: PreTrainedTokenizerBase,
    *,
    workload: Workload,
    image_processor: ImageProcessor | None = None,
) -> Sampler:
    """The sampler with the initial weights, for the prompts and responses of `workload`.

    Raises:
        ConfigError: the engine is unknown or not installed, or the model is not supported, has too
            short a context or does not know a token of a prompt.
    """
    config = load_config(model)
    lengths = [longest(prompts) + drawn.max_response_tokens for prompts, drawn in workload]
    context_tokens = max(lengths, default=None)
    check_context(config, model.path, context_tokens)
    for prompts, _ in workload:
        check_token_ids(config, model.path, prompts)
    if rollout.engine == "transformers":
        return TransformersSampler(
            load_model(model),
            tokenizer,
            end_token_ids=end_token_ids(model, tokenizer),
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


def check_first_tokens(sampler: Sampler, workload: Workload, model: ModelConfig) -> None:
    """Samples two tokens for each first prompt, before anything is written.

    Raises:
        ConfigError: the model's forward pass fails, or its log-probabilities are not finite.
    """
    for prompts, drawn in workload:
        two_tokens = replace(drawn, max_response_tokens=min(2, drawn.max_response_tokens))
        try:
            with refused(model, "cannot sample"):
                sampler.sample(prompts[:1], [[0]] * len(prompts[:1]), two_tokens)
        except NotFiniteFault as fault:
            raise ConfigError(
                f"model.path={model.path} at temperature={drawn.temperature}: {fault}: give intact "
                "weights and config.json, or raise rollout.temperature, evaluation.temperature"
            ) from fault
