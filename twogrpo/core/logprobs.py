"""Token log-probabilities from logits, at the sampling temperature. Pure."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


def token_logps(logits: Tensor, token_ids: Tensor, *, temperature: float) -> Tensor:
    """log softmax(logits / T)[token], in float32; logits [..., V], token_ids [...].

    π_old and π_θ must both be computed at the rollout temperature: the ratio of a policy at T = 0.7
    to the same policy at T = 1 is not 1 even before the first update.
    """
    scaled = logits.float() if temperature == 1 else logits.float() / temperature
    # Fused: a third of the time of gather and logsumexp, forward and backward.
    losses = F.cross_entropy(scaled.flatten(0, -2), token_ids.flatten(), reduction="none")
    return -losses.view(token_ids.shape)


def chunked_token_logps(
    hidden_ND: Tensor,
    head_VD: Tensor,
    token_ids_N: Tensor,
    *,
    temperature: float,
    chunk_tokens: int,
) -> Tensor:
    """`token_logps` of hidden states through the output head, `chunk_tokens` tokens at a time.

    The full [N, V] matrix of logits never exists: each chunk's logits are dropped after the forward
    pass and recomputed in the backward pass. N tokens, D hidden size, V vocabulary.
    """
    if not len(hidden_ND):
        return hidden_ND.sum(dim=-1).float()

    def chunk_logps(hidden: Tensor, token_ids: Tensor) -> Tensor:
        return token_logps(F.linear(hidden, head_VD), token_ids, temperature=temperature)

    chunks = zip(
        torch.split(hidden_ND, chunk_tokens), torch.split(token_ids_N, chunk_tokens), strict=True
    )
    if len(hidden_ND) <= chunk_tokens:
        return chunk_logps(hidden_ND, token_ids_N)
    return torch.cat([checkpoint(chunk_logps, *chunk, use_reentrant=False) for chunk in chunks])
