"""What the steps of a benchmark say: medians, rates, shares of the machine's ceilings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from twogrpo.benchmark.steps import Measured, Step
from twogrpo.preflight.architectures import Architecture
from twogrpo.preflight.cost import prompt_flops

TRAINING = ("old_logps", "update")


@dataclass(frozen=True)
class Spread:
    """Over steps."""

    median: float
    min: float
    max: float


@dataclass(frozen=True)
class Ceilings:
    """Of this machine, measured: matrix products in the policy's dtype, copies of memory."""

    matmul_flops: float
    copy_bytes_per_second: float


@dataclass(frozen=True)
class Achieved:
    """What a phase did a second, and its share of the machine's ceiling; bytes None where they are
    not what bounds it."""

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
    *,
    sampler_bytes: int,
    rollouts_per_call: int,
    tensor_parallel: int = 1,
) -> Result:
    """Of all steps; `sampler_bytes` are those of one of the sampler's values, a copy of which lies
    on `tensor_parallel` ranks."""
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
        peak_memory=measured.peak_memory,
        generating=_generating(
            measured,
            model,
            ceilings,
            sampler_bytes,
            rollouts_per_call,
            max(measured.num_ranks // tensor_parallel, 1),
        ),
        updating=_updating(measured, model, ceilings),
    )


def trained_prompts(step: Step, prompt_tokens: float) -> float:
    """Tokens of the prompts of rollouts trained on, each counted once for all of its group's."""
    return step.rollouts_trained / len(step.lengths_PG[0]) * prompt_tokens


def decoding_bytes(
    step: Step,
    model: Architecture,
    prompt_tokens: float,
    *,
    sampler_bytes: int,
    per_call: int,
    copies: int = 1,
) -> float:
    """Read while decoding: all weights once a step of each call of at most `per_call` rollouts,
    which ends with its longest response, and the key-value cache of every running rollout. Each of
    the sampler's `copies` reads its own weights, for every `copies`-th group (engines/ranked.py).
    """
    together = max(1, per_call // len(step.lengths_PG[0]))
    shares = [step.lengths_PG[first::copies] for first in range(copies)]
    calls = [
        [length for group in share[first : first + together] for length in group]
        for share in shares
        for first in range(0, len(share), together)
    ]
    weights = sum(map(max, calls)) * model.active_parameters * sampler_bytes
    positions = sum(n * prompt_tokens + n * (n - 1) / 2 for call in calls for n in call)
    return weights + positions * model.cache_bytes_per_token(sampler_bytes)


def _work(step: Step) -> tuple[object, ...]:
    return (*map(tuple, step.lengths_PG), step.rollouts_trained, step.tokens_trained)


def _mean(values: Sequence[int]) -> float:
    return sum(values) / len(values)


def _generating(
    measured: Measured,
    model: Architecture,
    ceilings: Ceilings,
    sampler_bytes: int,
    per_call: int,
    copies: int,
) -> Achieved:
    """Prompts once each and every response token, against both ceilings."""
    prompt = _mean(measured.prompt_lengths)
    flops, num_bytes = [], []
    for step in measured.steps:
        response = step.tokens_generated / step.rollouts
        work = prompt_flops(model, len(step.lengths_PG) * prompt, prompt / 2)
        work += model.forward_flops(step.tokens_generated, prompt + response / 2)
        flops.append(work / step.phases["generate"])
        read = decoding_bytes(
            step, model, prompt, sampler_bytes=sampler_bytes, per_call=per_call, copies=copies
        )
        num_bytes.append(read / step.phases["generate"])
    return Achieved(
        flops=median(flops),
        share_of_matmul=median(flops) / ceilings.matmul_flops / measured.num_ranks,
        bytes_per_second=median(num_bytes),
        share_of_copy=median(num_bytes) / ceilings.copy_bytes_per_second / measured.num_ranks,
    )


def _updating(measured: Measured, model: Architecture, ceilings: Ceilings) -> Achieved:
    """A forward pass and a backward one of twice its work, in the seconds of updates alone (π_old's
    are another phase); recomputed activations do not count."""
    prompt = _mean(measured.prompt_lengths)
    flops = []
    for step in measured.steps:
        response = step.tokens_generated / step.rollouts
        work = prompt_flops(model, trained_prompts(step, prompt), prompt / 2)
        work += model.forward_flops(step.tokens_trained, prompt + response / 2)
        flops.append(3 * work / step.phases["update"])
    rate = median(flops)
    return Achieved(rate, rate / ceilings.matmul_flops / measured.num_ranks)
