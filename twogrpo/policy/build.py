"""Builds the policy and the reference policy that a configuration names."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from twogrpo.config.schema import Config
from twogrpo.data.images import ImageProcessor
from twogrpo.distributed.process_group import Ranks
from twogrpo.models.end_tokens import end_token_ids
from twogrpo.models.load import load_model
from twogrpo.policy.logprob_model import LogprobModel
from twogrpo.policy.lora import BasePolicy, add_adapters
from twogrpo.policy.policy import TransformersPolicy
from twogrpo.policy.protocol import TokenLogprobs


def build_policy(
    config: Config,
    tokenizer: PreTrainedTokenizerBase,
    ranks: Ranks,
    image_processor: ImageProcessor | None = None,
) -> TransformersPolicy:
    """π_θ with the weights of the initial checkpoint; its export names the run's end tokens."""
    model = load_model(config.model)
    add_adapters(model, config.model, seed=config.seed)
    model.generation_config.eos_token_id = [*end_token_ids(config.model, tokenizer)]
    return TransformersPolicy(
        model,
        tokenizer,
        algorithm=config.algorithm,
        training=config.training,
        hardware=config.hardware,
        temperature=config.rollout.temperature,
        ranks=ranks,
        image_processor=image_processor,
        lora=config.model.lora,
    )


def build_reference_policy(config: Config, policy: TransformersPolicy) -> TokenLogprobs:
    """The initial policy, frozen: the one that KL is measured from. Sharded, it is kept in the
    dtype of the passes.

    With adapters it is `policy` without them.
    """
    if config.model.lora is not None:
        return BasePolicy(policy, policy.logprob_model.model)
    model = load_model(config.model)
    # FSDP2's passes cast all parameters anyway; autocast does not cast norms and embeddings.
    model.requires_grad_(not policy.ranks.is_sharded)
    reference = LogprobModel(
        model,
        hardware=config.hardware,
        temperature=config.rollout.temperature,
        ranks=policy.ranks,
        image_processor=policy.image_processor,
    )
    return reference.requires_grad_(False)
