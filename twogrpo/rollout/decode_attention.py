"""Decoding attention for the `transformers` sampler: one new token per row.

N rows, L = 1 new token, T tokens in the cache, H heads of size D.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

CACHED = "twogrpo_cached"


def cached_attention(
    module: nn.Module,
    query_NHLD: Tensor,
    key_NHTD: Tensor,
    value_NHTD: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Replaces transformers' `sdpa` for one new token per row (L = 1) on a CPU.

    There the `sdpa` kernel takes four to ten times as long in bfloat16. This one is two matrix
    products in float32, with the query heads of a shared key head batched together.
    `attention_mask` [N, 1, L, T] is true where a token attends.
    """
    if query_NHLD.shape[2] > 1 or query_NHLD.device.type != "cpu":
        attended_NLHD, _ = sdpa_attention_forward(
            module, query_NHLD, key_NHTD, value_NHTD, attention_mask, scaling=scaling, **kwargs
        )
        return attended_NLHD, None
    num_heads, size = key_NHTD.shape[1], query_NHLD.shape[-1]
    query = query_NHLD[:, :, 0].unflatten(1, (num_heads, -1)).float()
    scores = query * (size**-0.5 if scaling is None else scaling) @ key_NHTD.float().mT
    if attention_mask is not None:
        scores = scores.masked_fill(~attention_mask, -torch.inf)
    attended = scores.softmax(dim=-1) @ value_NHTD.float()
    return attended.flatten(1, 2)[:, None].to(query_NHLD.dtype), None


AttentionInterface.register(CACHED, cached_attention)
AttentionMaskInterface.register(CACHED, sdpa_mask)
