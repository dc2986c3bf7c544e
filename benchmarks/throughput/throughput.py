"""What the steps of a benchmark say: medians, rates, shares of the machine's ceilings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.throughput.step_timing import Measured, Step
from twogrpo.preflight.model_shapes import Architecture
from twogrpo.preflight.time.roofline import prompt_flops

TRAINING = ("old_logps", "update")


@dataclass(frozen=True)
class Spread:
    """Over steps."""

    median: float
    min: float
    max: float


@dataclass(frozen=True)
class Ceilings:
    """Of this machine, measured: matrix products in the policy's dtype and in the sampler's, copies
    of memory."""

    matmul_flops: float
    sampler_matmul_flops: float
    copy_bytes_per_second: float


@dataclass(frozen=True)
class Sampler:
    """How responses are drawn: bytes of one of the weights, `rollouts_per_call` at a time by each
    of the `copies` of the weights; `refills`: when one has ended, another takes its place (vLLM).
    """

    bytes_per_value: int
    rollouts_per_call: int
    copies: int = 1
    refills: bool = False


@dataclass(frozen=True)
class Achieved:
    """What a phase did a second, and its share of the machine's ceiling; bytes None where they are
    not what bounds it, or not known."""

    flops: float
    share_of_matmul: float
    bytes_per_second: float | None = None
    share_of_copy: float | None = None


@dataclass(frozen=True)
class Result:
    """Of one benchmark; rates are those of the median step. `seconds_of` are medians by phase.

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
    """Of all steps; `scoring_passes` over what is trained on come before each update (DPO)."""
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
    """Prompts of the rollouts trained on: a live group passes whole, and its prompt once."""
    return step.rollouts_trained / len(step.calls[0].lengths_PG[0])


def decoding_bytes(step: Step, model: Architecture, sampler: Sampler) -> float | None:
    """Read while sampling: all weights once a pass, and the key-value cache (`attended`).

    A batch, all that one copy draws at a time, has as many passes as its longest response has
    tokens (the first token is the prompts'). Each copy draws every `copies`-th group of a call
    (engines/ranked.py). None where a batch is refilled while it runs. That its cache holds all that
    is drawn at a time is taken for granted.
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
    """Cached positions that all passes see which make a second or later token of a response: that
    of token k + 1 its prompt and k tokens, k = 1 … n − 1."""
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
    """Prompts once each, with one token's logits; then a pass for every response token but the
    first. Against both ceilings."""
    flops, num_bytes = [], []
    for step in measured.steps:
        passes = step.tokens_generated - step.rollouts
        work = sum(prompt_flops(model, n, n / 2) for n in step.prompt_lengths)
        work += len(step.prompt_lengths) * 2 * model.vocabulary * model.hidden
        work += model.forward_flops(passes, attended(step) / max(passes, 1))
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
    """Forward passes (a backward one is two of them) in the seconds of updates alone: π_old's are
    another phase, and recomputed activations do not count. Which responses were trained on is not
    kept: a token sees as many before it as those of all that were drawn, E[n²] / 2E[n]."""
    flops = []
    for step in measured.steps:
        prompt = sum(step.prompt_lengths) / len(step.prompt_lengths)
        response = sum(n * n for n in step.lengths) / (2 * step.tokens_generated)
        work = prompt_flops(model, trained_prompts(step) * prompt, prompt / 2)
        work += model.forward_flops(step.tokens_trained, prompt + response)
        flops.append(passes * work / step.phases["update"])
    rate = median(flops)
    return Achieved(rate, rate / ceilings.matmul_flops / measured.num_ranks)
