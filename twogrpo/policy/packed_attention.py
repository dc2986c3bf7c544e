"""Attention over packed sequences without padding, registered with `transformers`.

T distinct tokens, F tokens of all sequences, with a shared prompt counted for each of them (see
`types.MicroBatch`), N sequences, L tokens of the longest, H heads of size D.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface

# The name under which it is registered.
PACKED = "twogrpo_packed"


@torch.compiler.disable  # lengths differ every time; only the layer around is compiled
def packed_attention(
    module: nn.Module,
    query_1HTD: Tensor,
    key_1HTD: Tensor,
    value_1HTD: Tensor,
    attention_mask: Tensor | None,
    *,
    lengths_N: Tensor | None = None,
    unpack_index_F: Tensor | None = None,
    pack_index_T: Tensor | None = None,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each sequence, [1, T, H, D]; key and value may have fewer heads.

    On a GPU in half precision the flash kernel for sequences of different lengths needs no padding
    (torch.nn.attention.varlen); elsewhere each sequence becomes a row of a padded batch. Only this
    operation copies a shared prompt for each of its responses; the rest of the model sees neither
    padding nor copies.

    `lengths_N` is on the CPU; without it all tokens are one sequence.

    Raises:
        ValueError: the layer has a sliding window shorter than the longest sequence, caps its
            scores (`softcap`) or has sinks (`s_aux`); none of these is supported.
    """
    for name, value in {"softcap": softcap, "s_aux (sinks)": s_aux}.items():
        if value is not None:
            raise ValueError(f"attention with {name} is not supported")
    # Some families hand it over (Mistral, Phi-3), others keep it in the module (Qwen2, Gemma 3).
    window = getattr(module, "sliding_window", None) if sliding_window is None else sliding_window
    lengths_N = torch.tensor([query_1HTD.shape[2]]) if lengths_N is None else lengths_N
    longest = int(lengths_N.max())
    if window is not None and window < longest:
        raise ValueError(f"sliding_window={window} is under {longest} tokens: not supported")
    if torch.is_autocast_enabled(query_1HTD.device.type):  # rotary embeddings made them float32
        dtype = torch.get_autocast_dtype(query_1HTD.device.type)
        query_1HTD, key_1HTD, value_1HTD = (x.to(dtype) for x in (query_1HTD, key_1HTD, value_1HTD))
    query_FHD, key_FHD, value_FHD = (
        x[0].transpose(0, 1) if unpack_index_F is None else x[0].transpose(0, 1)[unpack_index_F]
        for x in (query_1HTD, key_1HTD, value_1HTD)
    )
    is_half = query_FHD.dtype in (torch.bfloat16, torch.float16)
    attend = _flash if query_FHD.is_cuda and is_half else _row_by_row
    attended_FHD = attend(query_FHD, key_FHD, value_FHD, lengths_N, scaling)
    return (attended_FHD if pack_index_T is None else attended_FHD[pack_index_T])[None], None


def _row_by_row(
    query_FHD: Tensor,
    key_FHD: Tensor,
    value_FHD: Tensor,
    lengths_N: Tensor,
    scaling: float | None,
) -> Tensor:
    num_rows, longest = len(lengths_N), int(lengths_N.max())
    is_token_NL = torch.arange(longest) < lengths_N[:, None]
    unpack_index_F = is_token_NL.flatten().nonzero()[:, 0].to(query_FHD.device)

    # In float32: the CPU's bfloat16 kernel takes three times as long, mostly in the backward pass.
    def rows(packed_FHD: Tensor) -> Tensor:
        shape = num_rows * longest, *packed_FHD.shape[1:]
        padded = torch.zeros(shape, dtype=torch.float32, device=packed_FHD.device)
        padded = padded.index_copy(0, unpack_index_F, packed_FHD.float())
        return padded.unflatten(0, (num_rows, longest)).transpose(1, 2)

    with torch.autocast(query_FHD.device.type, enabled=False):
        # Padding is at the end, where causal attention never looks from a real token.
        attended_NHLD = F.scaled_dot_product_attention(
            rows(query_FHD),
            rows(key_FHD),
            rows(value_FHD),
            is_causal=True,
            scale=scaling,
            enable_gqa=True,
        )
    return attended_NHLD.transpose(1, 2).flatten(0, 1)[unpack_index_F].to(query_FHD.dtype)


def _flash(
    query_FHD: Tensor,
    key_FHD: Tensor,
    value_FHD: Tensor,
    lengths_N: Tensor,
    scaling: float | None,
) -> Tensor:
    longest = int(lengths_N.max())
    starts = F.pad(lengths_N.cumsum(0), (1, 0))
    starts = starts.to(query_FHD.device, torch.int32, non_blocking=True)
    attended = _varlen_attn()(
        query_FHD.contiguous(),
        key_FHD.contiguous(),
        value_FHD.contiguous(),
        starts,
        starts,
        longest,
        longest,
        scale=scaling,
        window_size=(-1, 0),  # causal
    )
    assert isinstance(attended, Tensor)  # log-sum-exps were not requested
    return attended


@cache
def _varlen_attn() -> Callable[..., object]:
    """torch's kernel; torch 2.11 takes fewer key and value heads without an argument for it."""
    from torch.nn.attention.varlen import varlen_attn  # cannot be imported without its kernels

    has_argument = "enable_gqa" in inspect.signature(varlen_attn).parameters
    return partial(varlen_attn, enable_gqa=True) if has_argument else varlen_attn


def _no_mask(*_: Any, **__: Any) -> None:
    """No mask: `packed_attention` uses the lengths."""


AttentionInterface.register(PACKED, packed_attention)
AttentionMaskInterface.register(PACKED, _no_mask)
