"""A prediction, not a measurement: what 2-GRPO saves for larger policies on up to 1,024 GPUs.

python -m analysis.theory.scaling_forecast          prints the numbers of docs/scaling.md

A roofline. A decoding step either reads the weights and the key-value cache of all running
sequences or computes, whichever takes longer, and a step of training waits for its longest
response. Updates compute; their cost is that of their tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

# NVIDIA H200, data sheet: bytes, FLOP/s of dense bfloat16, bytes a second.
MEMORY, MATMUL, BANDWIDTH, LINK, HOST = 139.8 * 2**30, 9.89e14, 4.8e12, 4.5e11, 2.5e10
# Ours: shares of those ceilings that updates and decoding reach; seconds of a decoding step, of an
# optimiser step and of a training step outside the modelled phases; memory given to the sampler.
UPDATING, DECODING, DECODE_STEP, OPTIMISER_STEP, OVERHEAD = 0.35, 0.5, 4e-3, 0.1, 1.0
SAMPLER_SHARE = 0.8

PROMPTS, STEPS, MINIBATCH = 512, 146, 512  # prompts a step, steps, rollouts a mini-batch
PROMPT, RESPONSE, LONGEST = 200.0, 6000.0, 32_768  # tokens; the mean is that of cut responses
LENGTH_VARIATION = 0.8  # standard deviation of a response's length over its mean, before the cut
MOST_TOGETHER = 1024  # sequences that one copy of the sampler runs at most
SLICES = 256  # of the longest response, over which decoding is summed
SUCCESS_A, SUCCESS_B = 2.0, 0.5  # success rates of prompts are Beta(a, b)


@dataclass(frozen=True)
class Policy:
    """A policy in numbers, from its config.json: all parameters, those that multiply each token,
    those of the output head; attention as layers × heads × head size; values a token in the
    key-value cache; GPUs that hold one copy of the sampler, and the clusters.

    A mixture has `experts` in all layers; a token uses `active_experts` of `in_layer`, each with
    `of_expert` parameters.
    """

    name: str
    parameters: float
    active: float
    head: float
    attention: float
    cache_values: float
    gpus_per_copy: int
    clusters: tuple[int, ...]
    experts: int = 0
    in_layer: int = 1
    active_experts: int = 1
    of_expert: float = 0.0

    def read(self, num_tokens: float) -> float:
        """Parameters read for one step over n tokens. Of a layer's E experts, k a token, these
        use E·(1 − (1 − k/E)^n) distinct ones if every token chooses at random."""
        if not self.experts:
            return self.active
        missed = (1 - self.active_experts / self.in_layer) ** num_tokens
        shared = self.parameters - self.experts * self.of_expert - self.head  # and the embedding
        return shared + self.experts * (1 - missed) * self.of_expert

    def flops(self, num_tokens: float, context: float) -> float:
        """FLOPs of a forward pass: 2 a parameter and token, 4 of attention a token and position
        (Kaplan et al. 2020, 2001.08361, section 2.1)."""
        return num_tokens * (2 * self.active + 4 * self.attention * context)

    def prompt_flops(self, num_tokens: float) -> float:
        """FLOPs of a forward pass over prompts, which need no logits."""
        return self.flops(num_tokens, PROMPT / 2) - 2 * num_tokens * self.head


# A dense layer: hidden · (2 queries + 2 keys) + bias + 3 · hidden · intermediate + 2 norms.
QWEN_7B = Policy("qwen25_math_7b", 7_615_616_512, 28 * 233_057_792 + 152_064 * 3584,
                 152_064 * 3584, 28 * 28 * 128, 28 * 2 * 4 * 128, 1, (8, 64))  # fmt: skip
QWEN_32B = Policy("qwen25_32b", 32_763_876_352, 64 * 487_605_248 + 152_064 * 5120,
                  152_064 * 5120, 64 * 40 * 128, 64 * 2 * 8 * 128, 2, (64, 256, 1024))  # fmt: skip
# DeepSeek-V3 (2412.19437, section 4.2): 58 layers of 256 routed experts, 8 a token.
_EXPERT = 3 * 7168 * 2048
_SHARED = 671_026_404_352 - 58 * 256 * _EXPERT - 129_280 * 7168
MIXTURE = Policy("deepseek_v3_671b", 671_026_404_352, _SHARED + 58 * 8 * _EXPERT, 129_280 * 7168,
                 61 * 128 * 128, 61 * (512 + 64), 16, (256, 512, 1024),
                 experts=58 * 256, in_layer=256, active_experts=8, of_expert=_EXPERT)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One policy on one cluster: seconds of 16-GRPO's and of 2-GRPO's step, sampling and all.

    `together`: sequences that a copy of the sampler has room for; `waiting`: those that 16-GRPO has
    for it. `tail`: the share of 2-GRPO's sampling that one response of the longest length takes.
    """

    policy: str
    gpus: int
    sampling: tuple[float, float]
    total: tuple[float, float]
    together: float
    waiting: float
    tail: float

    @property
    def share(self) -> float:
        """2-GRPO's time over 16-GRPO's."""
        return self.total[1] / self.total[0]


def predict(*, latents_on_all: bool = True) -> list[Row]:
    """The rows of docs/scaling.md.

    `latents_on_all`: every GPU of a copy of the sampler keeps the latents of all its sequences, as
    tensor parallelism leaves them. Else each sequence's are on one GPU (data-parallel attention;
    that its weights are then on all of them is not counted).
    """
    return [
        _row(policy, gpus, latents_on_all=latents_on_all)
        for policy in (QWEN_7B, QWEN_32B, MIXTURE)
        for gpus in policy.clusters
    ]


def _row(policy: Policy, gpus: int, *, latents_on_all: bool) -> Row:
    copies = gpus / policy.gpus_per_copy
    cache_bytes = 2 * policy.cache_values
    if policy is MIXTURE and latents_on_all:
        cache_bytes *= policy.gpus_per_copy
    room = policy.gpus_per_copy * SAMPLER_SHARE * MEMORY - 2 * policy.parameters
    together = min(MOST_TOGETHER, room / cache_bytes / (PROMPT + running_tokens()))
    sampling = [
        sampling_seconds(policy, PROMPTS * group_size, PROMPTS, copies, together, cache_bytes)
        for group_size in (16, 2)
    ]
    others = [_other_seconds(policy, group_size, gpus) for group_size in (16, 2)]
    alone = _tail_seconds(policy, copies, 1 / copies, cache_bytes, mean=LONGEST)
    return Row(
        policy.name,
        gpus,
        (sampling[0], sampling[1]),
        (sampling[0] + others[0], sampling[1] + others[1]),
        together,
        waiting=PROMPTS * 16 / copies,
        tail=min(1.0, (alone + _prefill_seconds(policy, 1, copies)) / sampling[1]),
    )


def sampling_seconds(
    policy: Policy, rollouts: int, prompts: int, copies: float, together: float, cache_bytes: float
) -> float:
    """Sampling of one step: a full copy while sequences wait, then the tail; each prompt once."""
    waiting = rollouts / copies
    active = min(waiting, together)
    full = (waiting - active) * RESPONSE / active
    seconds = full * step_seconds(policy, active, PROMPT + running_tokens(), cache_bytes)
    seconds += _tail_seconds(policy, copies, active, cache_bytes)
    return seconds + _prefill_seconds(policy, prompts, copies)


def step_seconds(policy: Policy, active: float, context: float, cache_bytes: float) -> float:
    """One decoding step of `active` sequences on one copy's GPUs."""
    reading = (2 * policy.read(active) + active * context * cache_bytes) / BANDWIDTH
    computing = policy.flops(active, context) / MATMUL
    return DECODE_STEP + max(reading, computing) / DECODING / policy.gpus_per_copy


def _tail_seconds(
    policy: Policy, copies: float, active: float, cache_bytes: float, mean: float = RESPONSE
) -> float:
    """The time until all of a copy's `active` responses have ended; copies wait for the longest."""
    seconds, stride = 0.0, LONGEST / SLICES
    for slice_ in range(SLICES):
        tokens = (slice_ + 0.5) * stride
        share = _above(tokens, uncut_mean(mean), 0)
        any_active = -math.expm1(active * copies * math.log1p(-min(share, 1 - 1e-12)))
        running = max(active * share, 1.0)
        seconds += stride * any_active * step_seconds(policy, running, PROMPT + tokens, cache_bytes)
    return seconds


def _prefill_seconds(policy: Policy, prompts: int, copies: float) -> float:
    rate = MATMUL * DECODING * policy.gpus_per_copy
    return policy.prompt_flops(prompts / copies * PROMPT) / rate


def _other_seconds(policy: Policy, group_size: int, gpus: int) -> float:
    """π_old, updates, new weights and the overhead. Rows of advantage zero are skipped; a prompt
    passes once for its group; activations are recomputed; nothing waits for a link."""
    rollouts = PROMPTS * group_size
    trained, updates = rollouts * (1 - zero_variance_share(group_size)), rollouts // MINIBATCH
    flops = policy.prompt_flops(trained / group_size * PROMPT)
    flops += policy.flops(trained * RESPONSE, PROMPT + running_tokens())
    # Four passes of an update (recomputing), and one for π_old before all updates but the first.
    passes = flops * (4 + (updates - 1) / updates) / gpus / MATMUL / UPDATING
    adam = updates * (28 * policy.parameters / gpus / BANDWIDTH + OPTIMISER_STEP)
    weights = 2 * policy.parameters / policy.gpus_per_copy
    return passes + adam + weights * (1 / LINK + 2 / HOST) + OVERHEAD


def zero_variance_share(group_size: int) -> float:
    """E[p^G + (1−p)^G] = Π (a+i)/(a+b+i) + Π (b+i)/(a+b+i), i = 0 … G−1, of Beta(a, b)."""
    total, steps = SUCCESS_A + SUCCESS_B, range(group_size)
    all_right = math.prod((SUCCESS_A + i) / (total + i) for i in steps)
    return all_right + math.prod((SUCCESS_B + i) / (total + i) for i in steps)


@cache
def running_tokens() -> float:
    """Tokens that a running response has on the mean: E[n²] / 2E[n] of n = min(X, L), X log-normal;
    long ones run longer, so it is more than half of the mean."""
    uncut = uncut_mean(RESPONSE)
    below = uncut**2 * (1 + LENGTH_VARIATION**2) * (1 - _above(LONGEST, uncut, 2))
    return (below + LONGEST**2 * _above(LONGEST, uncut, 0)) / (2 * RESPONSE)


@cache
def uncut_mean(mean: float) -> float:
    """E[X] at which E[min(X, L)] is `mean`; for a mean of L so large that all are cut."""
    low, high = mean, 1e6 * LONGEST
    for _ in range(60):
        middle = math.sqrt(low * high)
        cut = middle * (1 - _above(LONGEST, middle, 1)) + LONGEST * _above(LONGEST, middle, 0)
        low, high = (middle, high) if cut < mean else (low, middle)
    return middle


def _above(tokens: float, uncut: float, power: int) -> float:
    """E[X^k; X > tokens] / E[X^k]: for k = 0 the share above, for k = 1 its share of all tokens."""
    variance = math.log(1 + LENGTH_VARIATION**2)
    z = (math.log(tokens / uncut) + (0.5 - power) * variance) / math.sqrt(variance)
    return 0.5 * math.erfc(z / math.sqrt(2))


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| policy | GPUs | 16-GRPO: sampling, all | 2-GRPO: sampling, all | 2 of 16 | tail "
             "| GPU-hours saved |", "|---|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
    for row in rows:
        cells = [f"{s:,.0f} s, {t:,.0f} s" for s, t in zip(row.sampling, row.total, strict=True)]
        saved = (row.total[0] - row.total[1]) * STEPS / 3600 * row.gpus
        lines.append(f"| {row.policy} | {row.gpus:,} | {cells[0]} | {cells[1]} | {row.share:.0%} "
                     f"| {row.tail:.0%} | {saved:,.0f} |")  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(predict()))  # noqa: T201
    print("\nEach latent on one GPU:\n\n" + table(predict(latents_on_all=False)[5:]))  # noqa: T201
