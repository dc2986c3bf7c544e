"""The policy and the plain sampler on a device: against autograd by hand on the CPU."""

from dataclasses import replace

import pytest
import torch

from tests.conftest import tiny_model
from tests.gpu.conftest import DEVICES
from tests.policy.test_policy import (
    HARDWARE,
    MOVING,
    TOKENIZER,
    assert_same_gradient,
    gradient,
    gradient_by_hand,
    minibatch,
    policy,
)
from twogrpo.config.schema import HardwareConfig
from twogrpo.core.logprobs import chunked_token_logps
from twogrpo.rollout.protocol import SamplingParams
from twogrpo.rollout.transformers_sampler import TransformersSampler
from twogrpo.types import Prompt, TrainingSample

# |Δ log-probability| of one bfloat16 pass: hidden states are rounded (2⁻⁹ of each) some dozen times
# in two layers, logits of up to 4 once more (by up to 2⁻⁷). 0.04 is the largest seen on a CPU.
BF16_LOGPS = 0.1
VOCABULARY, HIDDEN = 151_936, 64  # the vocabulary of Qwen2.5


def shared() -> list[TrainingSample]:
    """Twelve sequences on three prompts, off-policy."""
    prompts = [sequence.prompt_token_ids for sequence in minibatch()[:3]]
    return [
        replace(sequence, prompt_token_ids=prompts[place % 3])
        for place, sequence in enumerate(minibatch(off_policy=True))
    ]


def on(device: str, dtype: str, **changed: object) -> HardwareConfig:
    return replace(HARDWARE, device=device, dtype=dtype, **changed)


changes = pytest.mark.parametrize(
    "changed",
    [{"tokens_per_microbatch": 25}, {"tokens_per_microbatch": 1000}, {"logits_chunk_tokens": 1},
     {"activation_checkpointing": True}],
    ids=str,
)  # fmt: skip
dtypes = pytest.mark.parametrize(("dtype", "bound"), [("float32", 3e-5), ("bfloat16", BF16_LOGPS)])


@changes
def test_the_gradient_in_float32_is_that_by_hand(device, changed):
    subject = policy(hardware=on(device, "float32", **changed))
    subject.update(shared())
    found = {name: grad.cpu() for name, grad in gradient(subject).items()}
    assert_same_gradient(found, gradient_by_hand(shared()))


@changes
def test_the_gradient_in_bfloat16_has_the_direction_and_weights_stay_float32(device, changed):
    """A tensor's relative error e leaves a cosine of 1 − e²/2: 0.99 allows 14 %, where bfloat16's
    rounding of activations and weights, each under 1 %, adds up: 0.997 on a CPU."""
    subject = policy(hardware=on(device, "bfloat16", **changed), training=MOVING)
    subject.update(shared())
    assert {p.dtype for p in subject.logprob_model.parameters()} == {torch.float32}
    assert {p.device.type for p in subject.logprob_model.parameters()} == {device}
    exact = gradient_by_hand(shared())
    for name, grad in gradient(subject).items():
        cosine = torch.cosine_similarity(grad.cpu().flatten(), exact[name].float().flatten(), dim=0)
        assert cosine > 0.99, name


@dtypes
def test_log_probabilities_are_the_cpu_s(device, dtype, bound):
    subject = policy(hardware=on(device, dtype))
    for actual, exact in zip(
        subject.token_logps(shared()), policy().token_logps(shared()), strict=True
    ):
        torch.testing.assert_close(actual, exact, atol=bound, rtol=0)


@dtypes
def test_the_sampler_s_log_probabilities_are_the_cpu_policy_s(device, dtype, bound):
    sampler = TransformersSampler(
        tiny_model(),
        TOKENIZER,
        end_token_ids=[1],
        device=device,
        dtype=getattr(torch, dtype),
        rollouts_per_call=64,
    )
    subject = policy(hardware=on(device, "float32"))
    sampler.load(subject.weights())
    prompts = [Prompt(t, t, "0", tuple(TOKENIZER(t)["input_ids"])) for t in ("3*8=", "2-5+4=")]
    groups = sampler.sample(prompts, [[1, 2, 3], [4, 5, 6]], SamplingParams(1.0, 1.0, 0, 12))
    sequences = [
        TrainingSample.of(prompt, rollout)
        for prompt, group in zip(prompts, groups, strict=True)
        for rollout in group
    ]
    sampled = [logp for group in groups for rollout in group for logp in rollout.sampler_logps]
    exact = torch.cat(policy().token_logps(sequences))
    torch.testing.assert_close(exact, torch.tensor(sampled), atol=bound, rtol=0)


def chunked(device: str, tokens: int, chunk: int, vocabulary: int) -> list[torch.Tensor]:
    """Log-probabilities and the gradients of their sum, on the CPU."""
    generator = torch.Generator().manual_seed(0)
    hidden, head = (
        torch.randn(rows, HIDDEN, generator=generator).to(device).requires_grad_()
        for rows in (tokens, vocabulary)
    )
    targets = torch.randint(vocabulary, (tokens,), generator=generator).to(device)
    logps = chunked_token_logps(hidden, head, targets, temperature=0.7, chunk_tokens=chunk)
    logps.sum().backward()
    return [tensor.detach().cpu() for tensor in (logps, hidden.grad, head.grad)]


@pytest.mark.parametrize("chunk", [7, 64])
def test_log_probabilities_in_chunks_are_those_at_once_on_the_cpu(device, chunk):
    """Logits reach 40, so float32 leaves 4e-6 of each; sums over 64 tokens a few times that."""
    expected = chunked("cpu", 64, 64, vocabulary=1000)
    for actual, exact in zip(chunked(device, 64, chunk, vocabulary=1000), expected, strict=True):
        torch.testing.assert_close(actual, exact, atol=5e-5, rtol=1e-5)


@pytest.mark.parametrize("device", DEVICES[1:], indirect=True)
def test_logits_of_all_tokens_never_exist_at_once(device):
    """A chunk's logits, their copies and gradients, at most six times chunk × vocabulary × 4 bytes;
    the head, its gradient so far and that of a chunk. All 4,096 tokens' logits would be 2.5 GB, and
    as much again for each copy. (For CPUs: benchmarks/ablations/logits_memory.py.)"""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    chunked(device, tokens=4096, chunk=256, vocabulary=VOCABULARY)
    matrix = 4 * VOCABULARY
    assert torch.cuda.max_memory_allocated() - before < matrix * (6 * 256 + 4 * HIDDEN)
    assert matrix * (6 * 256 + 4 * HIDDEN) < matrix * 4096 / 2
