"""Samples tokens from logits with uniform numbers from the caller. Pure; N rows, V vocabulary.

A row's token depends only on its own logits and its own uniform number. So a rollout does not
depend on the rest of the batch, and a resumed run samples the same rollouts.
"""

from __future__ import annotations

import torch
from torch import Tensor


def sample_tokens(
    logits_NV: Tensor, uniforms_N: Tensor, *, temperature: float, top_p: float, top_k: int
) -> tuple[Tensor, Tensor]:
    """Tokens [N] by inversion of the distribution function, and their log-probabilities [N].

    The distribution is softmax(logits / temperature) truncated to its `top_k` likeliest tokens (0:
    all), then to the smallest set that holds `top_p` of the mass, renormalised (Holtzman et al.
    2020, 1904.09751). The log-probabilities are those of the truncated distribution.
    """
    logps_NV = truncated_logps(logits_NV, temperature=temperature, top_p=top_p, top_k=top_k)
    cumulative_NV = logps_NV.exp().cumsum(dim=-1)
    targets_N1 = (uniforms_N * cumulative_NV[:, -1])[:, None]
    tokens_N1 = torch.searchsorted(cumulative_NV, targets_N1, right=True)
    # A uniform just below 1 can round up to the total: take the last token with any mass.
    last_N1 = (logps_NV > -torch.inf).int().cumsum(dim=-1).argmax(dim=-1, keepdim=True)
    tokens_N1 = torch.minimum(tokens_N1, last_N1)
    return tokens_N1.squeeze(-1), logps_NV.gather(-1, tokens_N1).squeeze(-1)


def truncated_logps(logits_NV: Tensor, *, temperature: float, top_p: float, top_k: int) -> Tensor:
    """Log-probabilities [N, V], float32, after temperature, top-k and top-p; −inf if truncated."""
    logits_NV = logits_NV.float() / temperature
    num_tokens = logits_NV.shape[-1]
    num_kept = top_k if 0 < top_k < num_tokens else num_tokens
    if num_kept == num_tokens and top_p >= 1:
        return logits_NV.log_softmax(dim=-1)
    # The K likeliest tokens in descending order: only these of a large vocabulary are sorted.
    logits_NK, tokens_NK = logits_NV.topk(num_kept, dim=-1)
    logps_NK = logits_NK.log_softmax(dim=-1)
    if top_p < 1:
        is_cut_NK = logps_NK.exp().cumsum(dim=-1) - logps_NK.exp() >= top_p
        logps_NK = logps_NK.masked_fill(is_cut_NK, -torch.inf).log_softmax(dim=-1)
    return torch.full_like(logits_NV, -torch.inf).scatter(-1, tokens_NK, logps_NK)
