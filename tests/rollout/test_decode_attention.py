"""The sampler's attention against a kernel of torch in double precision."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.conftest import tiny_model
from twogrpo.data.tasks import tiny_tokenizer
from twogrpo.rollout.decode_attention import CACHED, cached_attention
from twogrpo.rollout.transformers_sampler import TransformersSampler


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("is_padded", [False, True])
def test_one_new_token_attends_as_in_double_precision(dtype, is_padded):
    """Six heads share two keys; the first places of a row padded on the left are no tokens."""
    torch.manual_seed(0)
    query, key, value = (
        torch.randn(3, heads, tokens, 32).to(dtype) for heads, tokens in ((6, 1), (2, 7), (2, 7))
    )
    mask = torch.ones(3, 1, 1, 7, dtype=torch.bool)
    mask[1, ..., :4] = False
    mask = mask if is_padded else None
    found, _ = cached_attention(nn.Module(), query, key, value, mask)
    expected = F.scaled_dot_product_attention(
        query.double(), key.double(), value.double(), attn_mask=mask, enable_gqa=True
    )
    error = {torch.float32: 1e-6, torch.bfloat16: 1e-2}[dtype]
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected.transpose(1, 2), atol=error, rtol=error)


def test_a_prompt_attends_as_sdpa():
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, heads, 5, 32) for heads in (4, 2, 2))
    mask = torch.ones(5, 5, dtype=torch.bool).tril().expand(2, 1, 5, 5)
    module = nn.Module()
    module.num_key_value_groups, module.is_causal = 2, True
    found, _ = cached_attention(module, query, key, value, mask)
    expected = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=True)
    torch.testing.assert_close(found, expected.transpose(1, 2))


def test_the_sampler_decodes_with_it():
    model = tiny_model()
    TransformersSampler(
        model,
        tiny_tokenizer.build(),
        end_token_ids=[1],
        device="cpu",
        dtype=torch.float32,
        rollouts_per_call=8,
    )
    assert model.config._attn_implementation == CACHED
