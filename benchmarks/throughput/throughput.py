"""The result of a benchmark: medians, rates, shares of the machine's ceilings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.throughput.flops import forward_flops, prompt_flops
from benchmarks.throughput.step_timing import Measured, Step
from twogrpo.preflight.model_shapes import Architecture


@dataclass(frozen=True)
class Spread:
    """The spread of a value over steps."""

    median: float
    min: float
    max: float


@dataclass(frozen=True)
class Ceilings:
    """This machine's measured ceilings: matrix products in the policy's dtype and in the sampler's,
    copies of memory."""

    matmul_flops: float
    sampler_matmul_flops: float
    copy_bytes_per_second: float


@dataclass(frozen=True)
class Sampler:
    """How responses are sampled: bytes of a weight, `rollouts_per_call` at a time on each of the
    `copies` of the weights; with `refills` another takes the place of one that ended (vLLM).
    """

    bytes_per_value: int
    rollouts_per_call: int
    copies: int = 1
    refills: bool = False


@dataclass(frozen=True)
class Achieved:
    """The rate of a phase and its share of the machine's ceiling; bytes are None where they are
    unknown or do not bound the phase."""

    flops: float
    share_of_matmul: float
    bytes_per_second: float | None = None
    share_of_copy: float | None = None


@dataclass(frozen=True)
class Result:
    """The result of a benchmark; rates are those of the median step, `seconds_of` medians by phase.

    `is_same_work`: every step drew responses of the same lengths and trained on as many tokens.
    `rollouts_a_step` and `tokens_per_rollout` are means of those drawn.
    `trained_share` of the rollouts drawn went through the policy: the rest has advantage zero.
    """

    seconds: Spread
    seconds_of: dict[str, float]
    rollouts_per_second: float
    tokens_generated_per_second: float
    tokens_trained_per_second: float
    trained_share: float
    rollouts_a_step: float
    tokens_per_rollout: float
    is_same_work: bool
    memory_at_start: int
    memory_of_steps: int
    peak_memory: int
    generating: Achieved
    updating: Achieved


def spread(values: Sequence[float]) -> Spread:
    """Median, least and most.

    >>> spread([3.0, 1.0, 2.0])
    Spread(median=2.0, min=1.0, max=3.0)
    """
    return Spread(median(values), min(values), max(values))


def summarise(
    measured: Measured,
    model: Architecture,
    ceilings: Ceilings,
    sampler: Sampler,
    *,
    scoring_passes: int = 0,
) -> Result:
    """The result of all steps; `scoring_passes` over trained rollouts precede each update (DPO)."""
    steps = measured.steps
    return Result(
        seconds=spread([step.seconds for step in steps]),
        seconds_of={
            name: median(step.phases.get(name, 0.0) for step in steps) for name in steps[0].phases
        },
        rollouts_per_second=median(step.rollouts / step.seconds for step in steps),
        tokens_generated_per_second=median(step.tokens_generated / step.seconds for step in steps),
        tokens_trained_per_second=median(step.tokens_trained / step.seconds for step in steps),
        trained_share=sum(s.rollouts_trained for s in steps) / sum(s.rollouts for s in steps),
        rollouts_a_step=sum(s.rollouts for s in steps) / len(steps),
        tokens_per_rollout=sum(s.tokens_generated for s in steps) / sum(s.rollouts for s in steps),
        is_same_work=len({_work(step) for step in steps}) == 1,
        memory_at_start=measured.memory_at_start,
        memory_of_steps=measured.memory_of_steps,
        peak_memory=measured.peak_memory,
        generating=_generating(measured, model, ceilings, sampler),
        updating=_updating(measured, model, ceilings, passes=3 + scoring_passes),
    )


def trained_prompts(step: Step) -> float:
    """Prompts of the trained rollouts: a group with signal is trained complete, its prompt once."""
    return step.rollouts_trained / len(step.calls[0].lengths_PG[0])


def decoding_bytes(step: Step, model: Architecture, sampler: Sampler) -> float | None:
    """Bytes read while sampling: all weights once a pass, and the key-value cache (`attended`).

    A batch, all that one copy draws at a time, has as many passes as its longest response has
    tokens (the first token is the prompts'). Each copy draws every `copies`-th group of a call
    (twogrpo/rollout/data_parallel.py). None where a batch is refilled while it runs. The cache is
    assumed to hold everything that is sampled at a time.
    """
    group_size = len(step.calls[0].lengths_PG[0])
    shares = [
        call.lengths_PG[first :: sampler.copies]
        for call in step.calls
        for first in range(sampler.copies)
    ]
    most = max(map(len, shares)) * group_size
    if sampler.refills and most > sampler.rollouts_per_call:
        return None
    together = max(1, sampler.rollouts_per_call // group_size)
    passes = sum(
        max(map(max, share[first : first + together]))
        for share in shares
        for first in range(0, len(share), together)
    )
    values = sampler.bytes_per_value
    cache = attended(step) * model.cache_bytes_per_token(values)
    return passes * model.active_parameters * values + cache


def attended(step: Step) -> float:
    """Cached positions seen by all passes for second and later response tokens: token k + 1 sees
    its prompt and k tokens, k = 1 … n − 1."""
    return sum(
        (length - 1) * (prompt + length / 2)
        for call in step.calls
        for prompt, group in zip(call.prompts_P, call.lengths_PG, strict=True)
        for length in group
    )


def _work(step: Step) -> tuple[object, ...]:
    return step.calls, step.rollouts_trained, step.tokens_trained


def _generating(
    measured: Measured, model: Architecture, ceilings: Ceilings, sampler: Sampler
) -> Achieved:
    """The rate of sampling: prompts once each, with one token's logits; then a pass for every
    response token but the first."""
    flops, num_bytes = [], []
    for step in measured.steps:
        passes = step.tokens_generated - step.rollouts
        work = sum(prompt_flops(model, n, n / 2) for n in step.prompt_lengths)
        work += len(step.prompt_lengths) * 2 * model.vocabulary * model.hidden
        work += forward_flops(model, passes, attended(step) / max(passes, 1))
        flops.append(work / step.phases["generate"])
        read = decoding_bytes(step, model, sampler)
        if read is not None:
            num_bytes.append(read / step.phases["generate"])
    is_known = len(num_bytes) == len(flops)
    rate, read_rate = median(flops), median(num_bytes) if is_known else None
    of_copy = ceilings.copy_bytes_per_second * measured.num_ranks
    return Achieved(
        flops=rate,
        share_of_matmul=rate / ceilings.sampler_matmul_flops / measured.num_ranks,
        bytes_per_second=read_rate,
        share_of_copy=None if read_rate is None else read_rate / of_copy,
    )


def _updating(
    measured: Measured, model: Architecture, ceilings: Ceilings, *, passes: int
) -> Achieved:
    """The rate of updates: forward passes (a backward one is two) in the seconds of updates alone;
    π_old is another phase, and recomputed activations do not count. Which responses were trained on
    is not recorded: a token sees as many before it as in all responses, E[n²] / 2E[n]."""
    flops = []
    for step in measured.steps:
        prompt = sum(step.prompt_lengths) / len(step.prompt_lengths)
        response = sum(n * n for n in step.lengths) / (2 * step.tokens_generated)
        work = prompt_flops(model, trained_prompts(step) * prompt, prompt / 2)
        work += forward_flops(model, step.tokens_trained, prompt + response)
        flops.append(passes * work / step.phases["update"])
    rate = median(flops)
    return Achieved(rate, rate / ceilings.matmul_flops / measured.num_ranks)
