"""Attention among packed sequences: the flash kernel against rows in float32 on the CPU."""

import pytest
import torch
from torch.nn import Module
from torch.nn.attention import varlen

from tests.policy.test_policy import minibatch
from twogrpo.policy import packed_attention as attention
from twogrpo.policy.packed_attention import packed_attention
from twogrpo.policy.packing import microbatch
from twogrpo.types import MicroBatch

HEADS, KV_HEADS, SIZE = 12, 2, 128  # of Qwen2.5-Math-1.5B
# Half the distance of neighbouring bfloat16 numbers near 1: the relative error of one rounding.
BF16 = 2**-9


@pytest.fixture(autouse=True)
def fresh_kernel_lookup():
    attention._varlen_attn.cache_clear()
    yield
    attention._varlen_attn.cache_clear()


def packed() -> MicroBatch:
    """Sixteen sequences; some share a prompt, some have three tokens."""
    sequences = minibatch()
    return microbatch([*sequences, *sequences[:4]], device="cpu")


def inputs(batch: MicroBatch) -> list[torch.Tensor]:
    """Query, key and value, [1, H, T, D], rounded to bfloat16."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(1, heads, len(batch.token_ids_T), SIZE, generator=generator).bfloat16()
        for heads in (HEADS, KV_HEADS, KV_HEADS)
    ]


def attended(batch: MicroBatch, device: str, dtype: torch.dtype) -> list[torch.Tensor]:
    """The output and the three gradients of one weighted sum of it, float32 on the CPU."""
    leaves = [tensor.to(device, dtype).requires_grad_() for tensor in inputs(batch)]
    indices = {name: getattr(batch, name).to(device) for name in ("unpack_index_F", "pack_index_T")}
    out, _ = packed_attention(Module(), *leaves, None, lengths_N=batch.lengths_N, **indices)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).bfloat16()
    (out * weights.to(device, dtype)).sum().backward()
    return [tensor.detach().float().cpu() for tensor in (out, *(leaf.grad for leaf in leaves))]


@pytest.mark.parametrize(
    ("dtype", "roundings"),
    [
        # Sums of some dozen products in another order: tens of float32's 6e-8.
        (torch.float32, 0.005),
        # Probabilities, sums and results are rounded once each, and gradients add up over the six
        # query heads of a key head: 1.2 (output) to 3.4 (values) roundings of the largest number
        # with rows in bfloat16 on a CPU. A token in a wrong sequence is off by hundreds.
        (torch.bfloat16, 8),
    ],
)
def test_output_and_gradients_are_those_of_rows_in_float32(device, dtype, roundings, monkeypatch):
    batch, calls = packed(), []
    flash = attention._flash
    monkeypatch.setattr(attention, "_flash", lambda *given: calls.append(1) or flash(*given))
    expected = attended(batch, "cpu", torch.float32)
    for actual, exact in zip(attended(batch, device, dtype), expected, strict=True):
        bound = roundings * BF16 * float(exact.abs().max())
        torch.testing.assert_close(actual, exact, atol=bound, rtol=0)
    assert bool(calls) == (device == "cuda" and dtype == torch.bfloat16)


def as_2_11(query, key, value, starts, starts_k, longest, longest_k, *, scale, window_size):
    """The kernel with the signature of torch 2.11."""
    assert starts is starts_k and starts.dtype == torch.int32 and longest == longest_k
    assert window_size == (-1, 0) and all(x.is_contiguous() for x in (query, key, value))
    return attention._row_by_row(query, key, value, starts.diff(), scale)


def as_2_13(*given, enable_gqa=False, **named):
    assert enable_gqa
    return as_2_11(*given, **named)


@pytest.mark.parametrize("kernel", [as_2_11, as_2_13])
def test_the_kernel_is_called_with_the_signature_of_each_torch(monkeypatch, kernel):
    """The signature differs between releases; the kernel itself is tested on a GPU."""
    monkeypatch.setattr(varlen, "varlen_attn", kernel)
    batch = packed()
    tokens_FHD = [
        tensor[0].transpose(0, 1)[batch.unpack_index_F].float() for tensor in inputs(batch)
    ]
    found = attention._flash(*tokens_FHD, batch.lengths_N, None)[batch.pack_index_T]
    expected, *_ = attended(batch, "cpu", torch.float32)
    torch.testing.assert_close(found[None], expected, atol=1e-6, rtol=0)
