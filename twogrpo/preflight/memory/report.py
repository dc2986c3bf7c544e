"""The part of a preflight's report that is about memory."""

from __future__ import annotations

from twogrpo.preflight.devices import Device, device_names, load_device
from twogrpo.preflight.memory.estimate import BYTES, Memory, memory, verdict
from twogrpo.preflight.preflight import VERDICT_LEVELS, Preflight
from twogrpo.preflight.text_tables import MARKS, gib, table


def memory_part(found: Preflight) -> str:
    """What a device holds in each phase, and how full that makes the planned and the named ones."""
    needed, hardware = found.needed, found.config.hardware
    resting, policy = needed.sampler_in_updates, gib(needed.state - needed.reference_policy)
    start, own, overhead = (
        gib(n) for n in (needed.reference_policy, needed.sampler_weights, needed.overhead)
    )
    sampling = gib(needed.overhead + needed.sampler_overhead)
    rows = [
        ["weights, gradients and Adam, float32", policy, policy, policy],
        ["start policy, for the KL", start, start, start],
        [f"gathered layers, {hardware.dtype}", gib(needed.gathered), "", ""],
        [f"weights cast to {hardware.dtype}", gib(needed.casts), "", ""],
        ["activations of a micro-batch", gib(needed.activations), "", ""],
        ["logits of a chunk", gib(needed.logits), "", ""],
        ["gradient of the output head", gib(needed.head_gradient), "", ""],
        ["new weights on their way, float32", "", "", gib(needed.sync)],
        ["sampler's weights", gib(resting) if resting else "asleep", own, own],
        ["sampler's key-value cache", "", gib(needed.cache), ""],
        ["libraries and the rest", overhead, sampling, sampling],
        ["together", *map(gib, (needed.update_peak, needed.sampling_peak, needed.sync_peak))],
    ]
    rows = [row for row in rows if any(cell not in ("", "0 MiB") for cell in row[1:])]
    fits = [_fit(found, device) for device in devices(found)]
    return "\n".join(
        [table(["", "updating", "sampling", "syncing"], rows), table(["", "", ""], fits, left=3)]
    )


def _fit(found: Preflight, device: Device) -> list[str]:
    """Mark, name, and how full the device gets with how many of the longest sequences at a time."""
    needed = memory(found.config, found.model, device)
    outcome = verdict(needed, device)
    if needed.cache <= 0:
        text = f"{outcome}: no room for the sampler's cache"
    else:
        text = f"{outcome}: {gib(needed.peak)} of {device.memory_gib:g}, samples "
        text += f"{_longest(found, needed):,} of the longest sequences at a time"
    return [MARKS[VERDICT_LEVELS[outcome]], device.name, text]


def _longest(found: Preflight, needed: Memory) -> int:
    """Sequences of the longest prompt and response that one copy of the sampler has room for; the
    transformers sampler makes its cache as large as a call needs."""
    config = found.config
    if config.rollout.engine != "vllm":
        return config.hardware.rollouts_per_call
    per_token = found.model.cache_bytes_per_token(BYTES[config.hardware.sampler_dtype])
    tokens = needed.cache * config.hardware.tensor_parallel_size / per_token
    longest = config.dataset.max_prompt_tokens + config.dataset.max_response_tokens
    return int(min(config.hardware.rollouts_per_call, tokens / longest))


def devices(found: Preflight) -> list[Device]:
    """The planned device first, then every other GPU of conf/planned_device/."""
    if found.config.hardware.device == "cpu":
        return [found.device]
    names = [name for name in device_names() if name not in ("cpu", found.device.name)]
    return [found.device, *map(load_device, names)]
