"""What the passes keep: values by hand, and a comparison with the tensors that autograd saves."""

from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from tests.conftest import compose_config, parse_config
from twogrpo.config.schema import Config, parse
from twogrpo.policy.logprob_model import LogprobModel
from twogrpo.policy.lora import add_adapters
from twogrpo.policy.packing import microbatch
from twogrpo.preflight.memory.activations import (
    Lengths,
    Tokens,
    activation_bytes,
    head_gradient_bytes,
    largest_microbatch,
    layer_bytes,
    logits_bytes,
)
from twogrpo.preflight.model_shapes import PUBLISHED
from twogrpo.types import TrainingSample

MODEL = PUBLISHED["qwen25_math_7b"]
# A layer of SmolLM2-135M, which the counted models below are made of.
SMOLLM2 = PUBLISHED["smollm2_135m"]


def test_a_layer_by_hand():
    """bf16, sharded: 16 bytes of 3,584, 2 of a query and 4 · 18,944; q, out, k and v where
    attention is, each prompt once a response."""
    per_token = 16 * 3584 + 2 * (3584 + 4 * 18_944)
    attention = 2 * (2 * 3584 + 2 * 512)
    assert layer_bytes(MODEL, Tokens(1, 0), bytes_per_value=2, is_autocast=False) == per_token
    assert layer_bytes(MODEL, Tokens(0, 1), bytes_per_value=2, is_autocast=False) == attention
    both = Tokens(10, 30)
    layer = 10 * per_token + 30 * attention
    whole, checkpointed = (
        activation_bytes(MODEL, both, bytes_per_value=2, is_checkpointed=is_on, is_autocast=False)
        for is_on in (False, True)
    )
    assert whole == 29 * layer
    assert checkpointed == 10 * 2 * 28 * 3584 + 2 * layer


def test_logits_and_the_head_s_gradient_by_hand():
    """2,048 tokens: logits and their gradient, 2 + 4 bytes each; and of 152,064 · 3,584 weights."""
    assert logits_bytes(MODEL, 2048, bytes_per_value=2) == 2 * 2048 * 152_064 * 6
    assert head_gradient_bytes(MODEL, bytes_per_value=2) == 152_064 * 3584 * 6


def config(*overrides: str) -> Config:
    return parse(compose_config("hardware.tokens_per_microbatch=2048", *overrides), Config)


def test_the_largest_microbatch_by_hand():
    """Groups of 16 at a prompt of 64 and responses of 12: 16 tokens a row, 128 rows of 2,048; with
    their prompts 76 tokens each, padded 64 + 24."""
    given = ("algorithm.group_size=16", "dataset.max_prompt_tokens=64",
             "dataset.max_response_tokens=24", "training.prompts_per_minibatch=8")  # fmt: skip
    found = largest_microbatch(config(*given), Lengths(64.0, 12.0))
    assert found == Tokens(2048, 128 * 76, 128 * 88)
    on_gpu = largest_microbatch(
        config(*given, "hardware=one_gpu", "hardware.tokens_per_microbatch=2048"),
        Lengths(64.0, 12.0),
    )
    assert on_gpu == replace(found, padded=0.0)
    # A mini-batch of 1 prompt has no more than 64 + 16 · 24 tokens and 16 rows.
    one = config(*given[:3], "training.prompts_per_minibatch=1")
    assert largest_microbatch(one, Lengths(64.0, 12.0)) == Tokens(448, 16 * 76, 16 * 88)


def kept_bytes(layers: int, group_size: int, dtype: str, *lora: str) -> tuple[Tokens, int]:
    """A micro-batch of two groups through that many layers, and the bytes that autograd saves."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        LlamaConfig(
            hidden_size=SMOLLM2.hidden,
            num_attention_heads=SMOLLM2.heads,
            num_key_value_heads=SMOLLM2.kv_heads,
            intermediate_size=SMOLLM2.intermediate,
            head_dim=SMOLLM2.head_dim,
            num_hidden_layers=layers,
            vocab_size=64,
        )
    )
    sizes = "hardware.tokens_per_microbatch=1000000", "hardware.logits_chunk_tokens=1000000"
    given = parse_config(f"hardware.dtype={dtype}", *sizes, *lora)
    add_adapters(model, given.model, seed=0)
    logprob_model = LogprobModel(model, hardware=given.hardware, temperature=1.0)
    prompts = [tuple(range(start, start + 24)) for start in (1, 30)]
    sequences = [
        TrainingSample(prompt, tuple(range(12 - i % 3)), 1.0, 1.0, torch.zeros(12 - i % 3))
        for prompt in prompts
        for i in range(group_size)
    ]
    batch = microbatch(sequences, device="cpu")
    own = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}
    saved: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage().data_ptr()
        if storage not in own:
            saved[storage] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logps = logprob_model(batch)
    assert logps.requires_grad
    total = sum(tensor.untyped_storage().nbytes() for tensor in saved.values())
    longest = int(batch.lengths_N.max())
    return Tokens(
        len(batch.token_ids_T), float(batch.lengths_N.sum()), longest * len(batch.lengths_N)
    ), total


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("group_size", [1, 8])
def test_a_layer_keeps_what_autograd_saves(dtype, group_size):
    """One layer more, within 2 % (sums of norms and of attention are left out); autocast keeps its
    copy of the layer's weights too."""
    (tokens, two), (_, three) = (kept_bytes(n, group_size, dtype) for n in (2, 3))
    is_autocast = dtype == "bfloat16"
    expected = layer_bytes(
        SMOLLM2, tokens, bytes_per_value=getattr(torch, dtype).itemsize, is_autocast=is_autocast
    )
    expected += 2 * SMOLLM2.layer_parameters if is_autocast else 0
    assert three - two == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_layer_with_adapters_keeps_what_autograd_saves(dtype):
    """As above; autocast casts the adapters, not the frozen weights."""
    lora = ("lora=rank_32", "model.lora.rank=8")
    (tokens, two), (_, three) = (kept_bytes(n, 8, dtype, *lora) for n in (2, 3))
    is_autocast, width = dtype == "bfloat16", getattr(torch, dtype).itemsize
    adapters = SMOLLM2.adapters(parse_config(*lora).model.lora)
    expected = layer_bytes(
        SMOLLM2, tokens, bytes_per_value=width, is_autocast=is_autocast, adapter_width=8 * 7
    )
    expected += 2 * sum(adapters) if is_autocast else 0
    assert three - two == pytest.approx(expected, rel=0.02)
