"""What a run costs: a roofline of decoding and of updates, in seconds, tokens and device-hours.

Decoding reads all weights and the key-value cache of every active sequence at each step, or
computes, whichever takes longer, and goes on until the *longest* response of the batch has ended:
that tail, not the number of rollouts, is what bounds 2-GRPO's saving. An update computes; its cost
is that of its tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from twogrpo.preflight.model_shapes import Architecture
from twogrpo.preflight.time.devices import Device
from twogrpo.preflight.time.length_distribution import running_tokens, survival

SLICES = 256  # of the longest response, over which decoding is summed


@dataclass(frozen=True)
class Workload:
    """One generation of the loop, in rollouts and tokens; means over the whole run.

    `response_tokens` is the mean after the cut at `longest_tokens`
    (twogrpo/preflight/time/length_distribution.py).
    `rounds`: of sampling, one after another, as shares of the batch. `trained_share`:
    of the rollouts kept, those that pass through the policy (the rest have advantage zero and are
    skipped). `old_logps_share`: of those, the share whose π_old is another than the policy.
    `reweighing_passes`: forward passes over what is trained on, within the updates (DPO).
    `shares_prompts`: a prompt passes through the policy once for its whole group
    (twogrpo/policy/packing.py).
    """

    prompts: int
    group_size: int
    generations: int
    updates: int
    prompt_tokens: float
    response_tokens: float
    longest_tokens: int
    trained_share: float = 1.0
    old_logps_share: float = 1.0
    rounds: tuple[float, ...] = (1.0,)
    reweighing_passes: int = 0
    shares_prompts: bool = True

    @property
    def draws(self) -> float:
        """Rollouts drawn for each one kept (resampling)."""
        return sum(self.rounds)

    @property
    def rollouts(self) -> float:
        """Kept in one generation."""
        return self.prompts * self.group_size

    @property
    def trained_rollouts(self) -> float:
        """That pass through the policy, in one generation."""
        return self.rollouts * self.trained_share

    @property
    def trained_prompts(self) -> float:
        """That pass through the policy; a live group passes whole."""
        return self.trained_rollouts / (self.group_size if self.shares_prompts else 1)

    @property
    def trained_tokens(self) -> float:
        """Of prompts and responses that pass through the policy."""
        responses = self.trained_rollouts * self.response_tokens
        return self.trained_prompts * self.prompt_tokens + responses

    @property
    def context(self) -> float:
        """Tokens before a response's token on the mean, and those that a running one holds."""
        return self.prompt_tokens + running_tokens(self.response_tokens, self.longest_tokens)


@dataclass(frozen=True)
class Placement:
    """How the work lies on devices. Bytes are per value; `cache_bytes` is each device's.

    `prefix_block`: tokens that a group shares of its prompt's cache at a time; nearly 0: all of it.
    `offloads`: the float32 state rests in the CPU's memory. `hides_communication`: weights never
    wait for a link (expert and pipeline parallelism).
    """

    devices: int
    tensor_parallel: int
    policy_bytes: int
    sampler_bytes: int
    recomputes: bool
    tokens_per_microbatch: int
    rollouts_per_call: int
    cache_bytes: float
    sleeps: bool = False
    offloads: bool = False
    prefix_block: float = 1e-9
    hides_communication: bool = False

    @property
    def replicas(self) -> int:
        """Copies of the sampler; of GPUs `checks.check_hardware` sees that they divide."""
        return max(self.devices // self.tensor_parallel, 1)


@dataclass(frozen=True)
class Cost:
    """Seconds of one generation of the loop by phase, and how often there is one; `other`:
    scoring, measuring and whatever else the calibration found."""

    generate: float
    old_logps: float
    update: float
    sync: float
    other: float
    generations: int

    @property
    def step_seconds(self) -> float:
        """Of one generation with its updates."""
        return sum(phase_seconds(self))

    @property
    def hours(self) -> float:
        """Of the whole run."""
        return self.generations * self.step_seconds / 3600


def phase_seconds(cost: Cost) -> tuple[float, ...]:
    """Sampling, π_old, updates, new weights, all else."""
    return cost.generate, cost.old_logps, cost.update, cost.sync, cost.other


def cost(model: Architecture, device: Device, work: Workload, place: Placement) -> Cost:
    """Of a run without validation and evaluation."""
    return Cost(
        generate=generation_seconds(model, device, work, place),
        old_logps=old_logps_seconds(model, device, work, place),
        update=update_seconds(model, device, work, place),
        sync=sync_seconds(model, device, place),
        other=device.overhead_seconds,
        generations=work.generations,
    )


def concurrency(model: Architecture, work: Workload, place: Placement) -> float:
    """Sequences that one copy of the sampler decodes at a time: the cache's or the engine's bound.

    A sequence holds its prompt and what it has of its response (`Workload.context`).
    """
    tokens = (
        place.cache_bytes * place.tensor_parallel / model.cache_bytes_per_token(place.sampler_bytes)
    )
    return max(1.0, min(place.rollouts_per_call, tokens / work.context))


def generation_seconds(
    model: Architecture, device: Device, work: Workload, place: Placement
) -> float:
    """Of drawing one generation's rollouts; each round ends with a longest response of its own."""
    prompts = [round(share * work.prompts) for share in work.rounds if share * work.prompts >= 0.5]
    rounds = [replace(work, prompts=count) for count in prompts]
    return sum(_round_seconds(model, device, each, place) for each in rounds)


def whole_rounds(draws: float) -> tuple[float, ...]:
    """Of the batch's size, none larger, and a last one for the rest: as the loop draws new prompts.

    >>> whole_rounds(3.25)
    (1.0, 1.0, 1.0, 0.25)
    """
    whole, rest = divmod(draws, 1.0)
    return (1.0,) * int(whole) + ((rest,) if rest else ())


def _round_seconds(model: Architecture, device: Device, work: Workload, place: Placement) -> float:
    """Of `work.prompts` groups, all asked for at once."""
    waiting = work.rollouts / place.replicas
    active = min(waiting, concurrency(model, work, place))
    full_steps = (waiting - active) * work.response_tokens / active
    seconds = full_steps * _step_seconds(model, device, place, active, work.context)
    stride = work.longest_tokens / SLICES
    for slice_ in range(SLICES):
        tokens = (slice_ + 0.5) * stride
        share = survival(tokens, work.response_tokens, work.longest_tokens)
        # All ranks wait for the longest response of all, so a step is taken while any is active.
        any_active = -math.expm1(active * place.replicas * math.log1p(-min(share, 1 - 1e-12)))
        step = _step_seconds(
            model, device, place, max(active * share, 1.0), work.prompt_tokens + tokens
        )
        seconds += stride * any_active * step
    return seconds + _prefill_seconds(model, device, work, place)


def _prefill_seconds(
    model: Architecture, device: Device, work: Workload, place: Placement
) -> float:
    """Of a prompt once for its group, but for the rest of a block, which every rollout computes."""
    shared = work.prompt_tokens // place.prefix_block * place.prefix_block
    tokens = shared + work.group_size * (work.prompt_tokens - shared)
    prompts = work.prompts / place.replicas * tokens
    rate = device.matmul_flops * device.generation_efficiency * place.tensor_parallel
    return prompt_flops(model, prompts, work.prompt_tokens / 2) / rate


def _step_seconds(
    model: Architecture, device: Device, place: Placement, active: float, context: float
) -> float:
    cache = active * context * model.cache_bytes_per_token(place.sampler_bytes)
    num_bytes = model.parameters_read(active) * place.sampler_bytes + cache
    reading = num_bytes / device.copy_bytes_per_second
    computing = model.forward_flops(active, context) / device.matmul_flops
    roofline = max(reading, computing) / device.generation_efficiency / place.tensor_parallel
    return device.decode_step_seconds + roofline


def prompt_flops(model: Architecture, num_tokens: float, context: float) -> float:
    """Of a forward pass over tokens whose logits nobody wants: without the output head."""
    head = 2 * model.vocabulary * model.hidden
    return model.forward_flops(num_tokens, context) - num_tokens * head


def _trained_flops(model: Architecture, work: Workload) -> float:
    """Of one forward pass over the trained rollouts of a generation."""
    prompt, responses = work.prompt_tokens, work.trained_rollouts * work.response_tokens
    prompts = prompt_flops(model, work.trained_prompts * prompt, prompt / 2)
    return prompts + model.forward_flops(responses, work.context)


def old_logps_seconds(
    model: Architecture, device: Device, work: Workload, place: Placement
) -> float:
    """Of one forward pass over what waits for its π_old, in one generation."""
    flops = _trained_flops(model, work) * work.old_logps_share
    return flops / place.devices / device.matmul_flops / device.update_efficiency


def update_seconds(model: Architecture, device: Device, work: Workload, place: Placement) -> float:
    """Of all optimiser steps of one generation.

    Forward once, backward twice, recomputation of activations once more; gathering weights and
    scattering gradients (FSDP2) go on meanwhile and count where they take longer. Adam reads and
    writes weight, gradient and two moments in float32 (28 bytes a parameter). With `offloads` Adam
    does so in the CPU's memory, and each micro-batch brings the rank's float32 weights for both
    passes and takes its gradients back, as if over one slow link (never measured).
    """
    passes = (4 if place.recomputes else 3) + work.reweighing_passes
    flops = _trained_flops(model, work) * passes / place.devices
    computing = flops / device.matmul_flops / device.update_efficiency
    share = model.parameters / place.devices
    rate = device.host_bytes_per_second if place.offloads else device.copy_bytes_per_second
    steps = work.updates * (28 * share / rate + device.update_seconds)
    if place.offloads:
        steps += 12 * share * _microbatches(work, place) / rate
    return max(computing, _communication_seconds(model, device, work, place)) + steps


def _microbatches(work: Workload, place: Placement) -> float:
    """Of a rank, in one generation."""
    tokens = work.trained_tokens / place.devices
    return max(work.updates, tokens / place.tokens_per_microbatch)


def _communication_seconds(
    model: Architecture, device: Device, work: Workload, place: Placement
) -> float:
    """Each micro-batch gathers the weights for both passes and scatters float32 gradients."""
    if place.devices == 1 or place.hides_communication:
        return 0.0
    num_bytes = _microbatches(work, place) * model.parameters * (2 * place.policy_bytes + 4)
    is_one_node = place.devices <= device.devices_per_node
    rate = device.link_bytes_per_second if is_one_node else device.network_bytes_per_second
    return num_bytes / rate


def sync_seconds(model: Architecture, device: Device, place: Placement) -> float:
    """New weights to every copy of the sampler; to the CPU and back where it sleeps."""
    num_bytes = model.parameters * place.sampler_bytes / place.tensor_parallel
    return num_bytes / device.link_bytes_per_second + (
        2 * num_bytes / device.host_bytes_per_second if place.sleeps else 0.0
    )
