"""The part of a preflight's report that tells of memory."""

from __future__ import annotations

from twogrpo.preflight.memory.estimate import memory, verdict
from twogrpo.preflight.preflight import VERDICT_LEVELS, Preflight
from twogrpo.preflight.text_tables import MARKS, gib, note, table
from twogrpo.preflight.time.devices import Device, named_gpus
from twogrpo.preflight.time.roofline import Placement, concurrency
from twogrpo.preflight.time.workload import placement


def memory_part(found: Preflight) -> str:
    """What a device holds in each phase, and how full that makes this one and the named ones."""
    needed, hardware = found.needed, found.config.hardware
    resting, policy = needed.sampler_in_updates, gib(needed.state - needed.reference_policy)
    start, own, beside = (
        gib(n) for n in (needed.reference_policy, needed.sampler_weights, needed.overhead)
    )
    rows = [
        ["weights, gradients and Adam, float32", policy, policy, policy],
        ["start policy, for the KL", start, start, start],
        [f"layers gathered, {hardware.dtype}", gib(needed.gathered), "", ""],
        [f"weights cast to {hardware.dtype}", gib(needed.casts), "", ""],
        ["activations of a micro-batch", gib(needed.activations), "", ""],
        [f"logits of {hardware.logits_chunk_tokens:,} tokens", gib(needed.logits), "", ""],
        ["gradient of the output head", gib(needed.head_gradient), "", ""],
        ["weights on their way, float32", "", "", gib(needed.sync)],
        ["sampler's weights", gib(resting) if resting else "asleep", own, own],
        ["sampler's key-value cache", "", gib(needed.cache), ""],
        ["beside these (a guess but on a CPU)", beside, *[gib(
            needed.overhead + needed.sampler_overhead)] * 2],
        ["together", *map(gib, (needed.update_peak, needed.sampling_peak, needed.sync_peak))],
    ]  # fmt: skip
    rows = [row for row in rows if any(cell not in ("", "0 MiB") for cell in row[1:])]
    checkpointing = "on" if hardware.activation_checkpointing else "off"
    per_token = found.model.cache_bytes_per_token(found.place.sampler_bytes)
    return "\n".join(
        [
            table(["", "updating", "sampling", "syncing"], rows),
            note(
                f"The float32 state is divided over {found.place.devices} rank(s); activation "
                f"checkpointing {checkpointing}; a token in the cache takes "
                f"{per_token / 1024:.3g} KiB. From sizes alone: on a CPU within 10 % of "
                "measured peaks where every token is known, up to 35 % above them where rollouts "
                "without advantage are skipped (SmolLM2-135M); there freed memory is kept, and a "
                "long run's process grows, 16-GRPO's by half. Not held against any peak of "
                "sharded ranks."
            ),
            "",
            table(["", "", ""], [_fit(found, device) for device in devices(found)], left=3),
        ]
    )


def _fit(found: Preflight, device: Device) -> list[str]:
    """Mark, device, and how full it gets with how many sequences at a time."""
    needed = memory(found.config, found.model, device, found.lengths)
    outcome = verdict(needed, device)
    peak = f"{outcome}: {gib(needed.peak)} of {device.memory_gib:g}"
    if needed.cache <= 0:
        return [MARKS["failure"], device.name, f"{outcome}: no room for the sampler's cache"]
    work, _ = found.arms[found.own]
    place = placement(found.config, needed)
    together = concurrency(found.model, work, place)
    longest = _longest_at_a_time(found, place)
    return [
        MARKS[VERDICT_LEVELS[outcome]],
        device.name,
        f"{peak}; decodes {together:,.0f} sequences of mean length at a time, {longest:,} of "
        "the longest",
    ]


def _longest_at_a_time(found: Preflight, place: Placement) -> int:
    """Sequences of the longest prompt and response that one copy of the sampler has room for."""
    limits, per_token = found.config.dataset, found.model.cache_bytes_per_token(place.sampler_bytes)
    tokens = place.cache_bytes * place.tensor_parallel / per_token
    full = limits.max_prompt_tokens + limits.max_response_tokens
    return int(min(place.rollouts_per_call, tokens / full))


def devices(found: Preflight) -> list[Device]:
    """The device planned for first, then the named ones."""
    if found.config.hardware.device == "cpu":
        return [found.device]
    return [found.device, *(d for d in named_gpus() if d.name != found.device.name)]
