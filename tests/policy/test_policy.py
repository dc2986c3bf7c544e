"""The policy's update is exact: against autograd by hand, and whatever the hardware settings.

The gradient is read after an update with learning rate zero and no clipping; what the update ought
to have computed is worked out beside it, sequence by sequence, without packing, chunks or skipping.
"""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.conftest import parse_config, tiny_model
from twogrpo.config.schema import HardwareConfig, LoraConfig, TrainingConfig
from twogrpo.core.surrogates import token_ratio_clipped
from twogrpo.data.tasks import tiny_tokenizer
from twogrpo.distributed.process_group import SINGLE_PROCESS, Ranks
from twogrpo.policy.lora import add_adapters
from twogrpo.policy.packing import EMPTY_SAMPLE, microbatch
from twogrpo.policy.policy import NonFiniteError, TransformersPolicy
from twogrpo.rollout.protocol import SamplingParams
from twogrpo.rollout.transformers_sampler import TransformersSampler
from twogrpo.types import Prompt, TrainingSample

TOKENIZER = tiny_tokenizer.build()
CONFIG = parse_config("hardware.tokens_per_microbatch=64", "hardware.logits_chunk_tokens=16")
HARDWARE = CONFIG.hardware
STILL = replace(CONFIG.training, learning_rate=0.0, warmup_updates=0, gradient_clip_norm=None)
MOVING = replace(STILL, learning_rate=1e-3)


def policy(
    *,
    training: TrainingConfig = STILL,
    hardware: HardwareConfig = HARDWARE,
    temperature: float = 1.0,
    ranks: Ranks = SINGLE_PROCESS,
    lora: LoraConfig | None = None,
    seed: int = 0,
) -> TransformersPolicy:
    """The tiny model as a policy; ε_low = 0.2 and ε_high = 0.28 are conf/algorithm/grpo.yaml's."""
    model = tiny_model(seed)
    add_adapters(model, replace(CONFIG.model, lora=lora), seed=0)
    return TransformersPolicy(
        model,
        TOKENIZER,
        algorithm=CONFIG.algorithm,
        training=training,
        hardware=hardware,
        temperature=temperature,
        ranks=ranks,
        lora=lora,
    )


def minibatch(*, off_policy: bool = False) -> list[TrainingSample]:
    """Twelve sequences of different lengths, a third of them with advantage zero."""
    generator = torch.Generator().manual_seed(0)
    sequences = []
    for i in range(12):
        prompt, response = 2 + i % 5, 1 + (7 * i) % 9
        tokens = tuple(torch.randint(2, 18, (prompt + response,), generator=generator).tolist())
        advantage, weight = (1.0, -0.5, 0.0)[i % 3], 1 / (12 * response)
        logps = torch.zeros(response)
        sequences.append(TrainingSample(tokens[:prompt], tokens[prompt:], advantage, weight, logps))
    if not off_policy:
        return sequences
    old_logps = policy().token_logps(sequences)
    noise = [torch.randn(len(logps), generator=generator) * 0.3 for logps in old_logps]
    return [
        replace(sequence, old_logps=logps + shift)
        for sequence, logps, shift in zip(sequences, old_logps, noise, strict=True)
    ]


def logps_by_hand(
    model: torch.nn.Module, sequence: TrainingSample, temperature: float = 1.0
) -> Tensor:
    tokens = torch.tensor([sequence.prompt_token_ids + sequence.response_token_ids])
    logps = (model(tokens).logits[0, :-1] / temperature).log_softmax(-1)
    targets = torch.tensor(sequence.response_token_ids)
    return logps[len(sequence.prompt_token_ids) - 1 :].gather(-1, targets[:, None])[:, 0]


def gradient_by_hand(
    sequences: list[TrainingSample],
    temperature: float = 1.0,
    model: torch.nn.Module | None = None,
) -> dict[str, Tensor]:
    """Σ weight · min(ρA, clip(ρ)A) over all tokens of *all* sequences, in float64; ascended."""
    model = (model or tiny_model()).double()
    objective = torch.zeros((), dtype=torch.float64)
    for sequence in sequences:
        logps = logps_by_hand(model, sequence, temperature)
        old = logps.detach() if sequence.old_logps is None else sequence.old_logps.double()
        ratios = (logps - old).exp()
        bounded = ratios.clamp(0.8, 1.28)
        terms = torch.minimum(ratios * sequence.advantage, bounded * sequence.advantage)
        objective = objective + (sequence.token_weight * terms).sum()
    (-objective).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def gradient(subject: TransformersPolicy) -> dict[str, Tensor]:
    return {
        name: parameter.grad
        for name, parameter in subject.logprob_model.model.named_parameters()
        if parameter.grad is not None
    }


def assert_same_gradient(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert actual.keys() == expected.keys()
    scale = max(float(grad.abs().max()) for grad in expected.values())
    assert scale > 1e-3
    for name in expected:
        torch.testing.assert_close(
            actual[name].double(), expected[name].double(), atol=2e-5 * scale, rtol=0, msg=name
        )


@pytest.mark.parametrize("tokens_per_microbatch", [25, 1000])
def test_a_shared_prompt_gets_the_gradient_of_all_its_responses(tokens_per_microbatch):
    """By hand each sequence goes through the model by itself, its prompt with it."""
    prompts = [s.prompt_token_ids for s in minibatch()[:3]]
    sequences = [
        replace(s, prompt_token_ids=prompts[i % 3 if i else 0], advantage=1.0 - 0.3 * i)
        for i, s in enumerate(minibatch())
    ]
    subject = policy(hardware=replace(HARDWARE, tokens_per_microbatch=tokens_per_microbatch))
    subject.update(sequences)
    assert_same_gradient(gradient(subject), gradient_by_hand(sequences))


@pytest.mark.parametrize("off_policy", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_gradient_equals_autograd_by_hand_with_dead_sequences_computed(off_policy, temperature):
    """By hand the sequences of advantage zero go through the model; the update skips them."""
    sequences = minibatch(off_policy=off_policy)
    subject = policy(temperature=temperature)
    metrics = subject.update(sequences)
    expected = gradient_by_hand(sequences, temperature)
    assert_same_gradient(gradient(subject), expected)
    norm = math.sqrt(sum(float(grad.square().sum()) for grad in expected.values()))
    assert metrics.gradient_norm == pytest.approx(norm, rel=1e-4)
    assert metrics.num_sequences == 8
    alive = [s for s in sequences if s.advantage]
    assert metrics.num_tokens == sum(len(s.response_token_ids) for s in alive)


def test_skipping_saves_the_forward_pass():
    subject, seen = policy(), []
    subject.logprob_model.model.base_model.register_forward_pre_hook(
        lambda _module, _args, kwargs: seen.append(len(kwargs["lengths_N"])), with_kwargs=True
    )
    subject.update(minibatch())
    assert sum(seen) == 8


@pytest.mark.parametrize("off_policy", [False, True])
@pytest.mark.parametrize(
    "hardware",
    [
        replace(HARDWARE, tokens_per_microbatch=14),
        replace(HARDWARE, tokens_per_microbatch=10_000),
        replace(HARDWARE, logits_chunk_tokens=1),
        replace(HARDWARE, logits_chunk_tokens=10_000),
    ],
)
def test_hardware_settings_and_order_do_not_change_the_gradient(hardware, off_policy):
    sequences = minibatch(off_policy=off_policy)
    subject = policy(hardware=hardware)
    subject.update(sequences[::-1])
    assert_same_gradient(gradient(subject), gradient_by_hand(sequences))


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_on_policy_is_the_same_as_the_explicit_log_probabilities(temperature):
    """Without `old_logps` π_old is the policy itself: ratio 1, nothing clipped, the same step."""
    sequences = minibatch()
    implicit, explicit = policy(temperature=temperature), policy(temperature=temperature)
    old_logps = explicit.token_logps(sequences)
    metrics = explicit.update(
        [replace(s, old_logps=old) for s, old in zip(sequences, old_logps, strict=True)]
    )
    implicit.update(sequences)
    assert_same_gradient(gradient(implicit), gradient(explicit))
    assert metrics.clip_fraction_low == metrics.clip_fraction_high == 0


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_sampler_s_log_probabilities_are_the_policy_s(temperature):
    """At T ≠ 1 too: a π_old at another temperature than the rollouts' is another policy."""
    sampler = TransformersSampler(
        tiny_model(),
        TOKENIZER,
        end_token_ids=[1],
        device="cpu",
        dtype=torch.float32,
        rollouts_per_call=64,
    )
    prompts = [Prompt(t, t, "0", tuple(TOKENIZER(t)["input_ids"])) for t in ("3*8=", "2-5+4=")]
    groups = sampler.sample(
        prompts, [[1, 2, 3], [4, 5, 6]], SamplingParams(temperature, 1.0, 0, 12)
    )
    sequences = [
        TrainingSample.of(prompt, rollout)
        for prompt, group in zip(prompts, groups, strict=True)
        for rollout in group
    ]
    logps = policy(temperature=temperature).token_logps(sequences)
    sampled = [logp for group in groups for rollout in group for logp in rollout.sampler_logps]
    torch.testing.assert_close(torch.cat(logps), torch.tensor(sampled), atol=3e-5, rtol=0)


def test_log_probabilities_come_in_order_without_gradient_and_whatever_the_padding():
    sequences = minibatch()  # of different lengths
    for sequence, logps in zip(sequences, policy().token_logps(sequences), strict=True):
        by_hand = logps_by_hand(tiny_model(), sequence)
        torch.testing.assert_close(logps, by_hand.detach(), atol=2e-5, rtol=0)
        assert not logps.requires_grad


@pytest.mark.parametrize(
    ("ratio", "advantage", "low", "high"),
    [(1.5, 1.0, 0, 1), (1.5, -1.0, 0, 0), (0.5, -1.0, 1, 0), (0.5, 1.0, 0, 0), (1.25, 1.0, 0, 0)],
)
def test_clip_fractions_count_what_has_no_gradient(ratio, advantage, low, high):
    subject = policy()
    sequence = replace(minibatch()[3], advantage=advantage)
    [logps] = subject.token_logps([sequence])
    metrics = subject.update([replace(sequence, old_logps=logps - math.log(ratio))])
    assert (metrics.clip_fraction_low, metrics.clip_fraction_high) == (low, high)
    assert (metrics.gradient_norm == 0) == bool(low or high)


def test_bfloat16_passes_keep_the_master_weights_in_float32():
    subject = policy(training=MOVING, hardware=replace(HARDWARE, dtype="bfloat16"))
    subject.update(minibatch())
    assert {p.dtype for p in subject.logprob_model.parameters()} == {torch.float32}
    exact = gradient_by_hand(minibatch())
    for name, grad in gradient(subject).items():
        cosine = torch.cosine_similarity(grad.flatten().double(), exact[name].flatten(), dim=0)
        assert cosine > 0.98, name


def test_a_pi_old_that_is_not_finite_is_no_on_policy_token():
    sequences = minibatch(off_policy=True)
    sequences[0] = replace(sequences[0], old_logps=sequences[0].old_logps * math.nan)
    with pytest.raises(NonFiniteError, match="π_old"):
        policy().update(sequences)


def test_importance_weights_scale_each_token():
    """A sampler half as sure of every token doubles the gradient, unless the cap is 1."""
    sequences = minibatch(off_policy=True)
    plain = gradient_by_hand(sequences)
    halved = [replace(s, sampler_logps=s.old_logps - math.log(2)) for s in sequences]
    for cap, factor in ((3.0, 2.0), (1.0, 1.0)):
        subject = policy()
        subject.algorithm = replace(subject.algorithm, importance_sampling_cap=cap)
        subject.update(halved)
        assert_same_gradient(gradient(subject), {k: factor * g for k, g in plain.items()})


def test_a_microbatch_of_nothing_adds_nothing_with_a_cap():
    subject = policy()
    subject.algorithm = replace(subject.algorithm, importance_sampling_cap=2.0)
    empty = microbatch([EMPTY_SAMPLE], device="cpu")
    subject._zero_gradient()
    assert subject._accumulate_gradient(empty, token_ratio_clipped)[2] == 0
    assert all(torch.count_nonzero(g) == 0 for g in gradient(subject).values())
