"""Refuses models whose log-probabilities are not what we compute from hidden states and head.

We pack sequences and multiply the last hidden states by the head. Some families do more: they
scale or softly cap logits, have a bias in the head, use attention with sinks or attention that
`transformers` does not let us replace. We would train another policy than the one sampled from.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from transformers import PreTrainedModel

from twogrpo.errors import ConfigError
from twogrpo.policy.packing import pack
from twogrpo.types import MicroBatch, TrainingSample

# Keys of a model's configuration (Gemma 2, Granite, Cohere, Falcon H1); None and 1 are harmless.
UNSUPPORTED_CONFIG = (
    "final_logit_softcapping",
    "attn_logit_softcapping",
    "logits_scaling",
    "logit_scale",
    "lm_head_multiplier",
)
# Two prompts of one token with responses of three; the second shows a leak from the first.
TOKEN_IDS = ((2, 3, 4, 5), (7, 6, 5, 9))
# In nats, for float32: rounding is a hundredth of it, and an unsupported feature costs more.
TOLERANCE = 0.01


def sequences(model: PreTrainedModel) -> list[TrainingSample]:
    """The sequences whose log-probabilities are compared."""
    size = model.get_output_embeddings().weight.shape[0]
    ids = [tuple(token % size for token in row) for row in TOKEN_IDS]
    return [TrainingSample(row[:1], row[1:], 1.0, 1.0, torch.zeros(len(row) - 1)) for row in ids]


@torch.no_grad()
def model_logps(model: PreTrainedModel, *, temperature: float) -> Tensor:
    """The response tokens' log-probabilities by the model's own forward pass, a row at a time."""
    found = []
    for sequence in sequences(model):
        ids = torch.tensor([*sequence.prompt_token_ids, *sequence.response_token_ids])
        ids = ids.to(model.device)
        logits = model(input_ids=ids[None], use_cache=False).logits[0, :-1].float() / temperature
        found.append(logits.log_softmax(dim=-1).gather(1, ids[1:, None])[:, 0])
    return torch.cat(found)


@torch.no_grad()
def check_logprob_parity(
    model: PreTrainedModel, score: Callable[[MicroBatch], Tensor], model_logps_R: Tensor
) -> None:
    """Compares `model_logps_R` with the log-probabilities that `score` gives the same tokens.

    Raises:
        ConfigError: they differ, or the model's configuration has a feature that makes them differ.
    """
    if not model_logps_R.isfinite().all():
        raise ConfigError(
            f"model.path={model.name_or_path or '…'}: its log-probabilities are not finite: give "
            "intact weights and config.json, or raise rollout.temperature"
        )
    text, head = model.config.get_text_config(), model.get_output_embeddings()
    values = {key: getattr(text, key, None) for key in UNSUPPORTED_CONFIG}
    reasons = [f"{key}={value}" for key, value in values.items() if value not in (None, 1)]
    if getattr(head, "bias", None) is not None:
        reasons.append("its head has a bias")
    if not reasons:
        reasons = _difference(model, score, model_logps_R)
    if reasons:
        raise ConfigError(
            f"model.path={model.name_or_path or '…'}: a {model.config.model_type} cannot be trained"
            f" here ({', '.join(reasons)}): its log-probabilities would not be the sampler's, use"
            " one of another family (Qwen2, Qwen3, Llama, Mistral)"
        )


def _difference(
    model: PreTrainedModel, score: Callable[[MicroBatch], Tensor], model_logps_R: Tensor
) -> list[str]:
    batches = pack(
        sequences(model),
        tokens_per_microbatch=1 << 20,
        device=str(model.device),
        rank=0,
        num_ranks=1,
    )
    try:
        ((places, batch),) = batches
        rows_R = score(batch).split([3] * len(places))
    except (TypeError, ValueError) as error:
        return [" ".join(str(error).split())[:200]]
    scored_R = torch.cat([rows_R[places.index(place)] for place in range(len(places))])
    difference = (scored_R - model_logps_R).abs().max().item()
    return [f"off by {difference:.2g} nats"] if not difference <= TOLERANCE else []
