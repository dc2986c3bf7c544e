"""Builds the policy and the start policy that a configuration names."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from twogrpo.config.schema import Config, HardwareConfig
from twogrpo.core.surrogates import SURROGATES
from twogrpo.data.images import ImageProcessor
from twogrpo.distributed.process_group import Ranks
from twogrpo.models.load import DTYPES, load_model
from twogrpo.policy.logprob_model import Knobs, LogprobModel
from twogrpo.policy.policy import Adam, Objective, TransformersPolicy


def knobs(hardware: HardwareConfig) -> Knobs:
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
    image_processor: ImageProcessor | None = None,
) -> TransformersPolicy:
    """π_θ at the start weights."""
    training = config.training
    return TransformersPolicy(
        load_model(config.model),
        tokenizer,
        objective=Objective(
            surrogate=SURROGATES[config.algorithm.surrogate].function,
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
        image_processor=image_processor,
    )


def build_reference_policy(
    config: Config, ranks: Ranks, image_processor: ImageProcessor | None = None
) -> LogprobModel:
    """The start policy, frozen: what KL is measured against."""
    scoring = LogprobModel(
        load_model(config.model),
        temperature=config.rollout.temperature,
        knobs=knobs(config.hardware),
        ranks=ranks,
        image_processor=image_processor,
    )
    return scoring.requires_grad_(False)
