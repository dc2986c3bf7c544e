"""The part of a preflight's report that is about memory."""

from __future__ import annotations

from twogrpo.preflight.devices import Device, device_names, load_device
from twogrpo.preflight.memory.estimate import BYTES, memory, verdict
from twogrpo.preflight.preflight import VERDICT_LEVELS, Preflight
from twogrpo.preflight.text_tables import MARKS, gib, table


def memory_part(found: Preflight) -> str:
    """What a device holds in each phase, and how full that makes the planned and the named ones."""
    needed, dtype = found.needed, found.config.hardware.dtype
    policy, start = needed.state - needed.reference_policy, needed.reference_policy
    own, resting = needed.sampler_weights, needed.sampler_in_updates
    syncing = needed.overhead + needed.sampler_overhead
    sampling = needed.sampling_peak - needed.state - own - needed.cache
    state = "weights, gradients and Adam, float32"
    if found.config.model.lora:
        state = f"weights, {dtype}; adapters, float32"
    rows = [
        (state, policy, policy, policy),
        ("reference policy, for the KL", start, start, start),
        (f"gathered layers, {dtype}", needed.gathered, 0, 0),
        (f"weights cast to {dtype}", needed.casts, 0, 0),
        ("activations of a micro-batch", needed.activations, 0, 0),
        ("logits of a chunk", needed.logits, 0, 0),
        ("gradient of the output head", needed.head_gradient, 0, 0),
        ("new weights on their way, float32", 0, 0, needed.sync),
        ("sampler's weights (asleep its CUDA graphs)", resting, own, own),
        ("sampler's key-value cache", 0, needed.cache, 0),
        ("libraries and the rest", needed.overhead, sampling, syncing),
        ("together", needed.update_peak, needed.sampling_peak, needed.sync_peak),
    ]
    cells = [[name, *map(_cell, sizes)] for name, *sizes in rows]
    hardware = found.config.hardware
    loading = gib(BYTES["float32"] * found.model.parameters)
    host = f"host memory while the ranks load the model: {hardware.num_gpus} × {loading}"
    fits = [_fit(found, device) for device in devices(found)]
    return "\n".join(
        [
            table(["", "updating", "sampling", "syncing"], [row for row in cells if any(row[1:])]),
            table(["", "", ""], fits, left=3),
            *([host] if hardware.device == "cuda" else []),
        ]
    )


def _cell(size: float) -> str:
    return "" if (text := gib(size)) == "0 MiB" else text


def _fit(found: Preflight, device: Device) -> list[str]:
    """Mark, name, and how full the device gets with how many of the longest sequences at a time."""
    needed, config = memory(found.config, found.model, device), found.config
    outcome, longest = verdict(needed, device), config.hardware.rollouts_per_call
    if config.rollout.engine == "vllm":  # the transformers sampler makes its cache as large
        per_token = found.model.cache_bytes_per_token(BYTES[config.hardware.sampler_dtype])
        tokens = needed.cache * config.hardware.tensor_parallel_size / per_token
        length = config.dataset.max_prompt_tokens + config.dataset.max_response_tokens
        longest = int(min(longest, tokens / length))
    text = f"{outcome}: {gib(needed.peak)} of {device.memory_gib:g}, samples {longest:,} of the "
    text += "longest sequences at a time"
    if needed.cache <= 0:
        text = f"{outcome}: no room for the sampler's cache"
    if lacking := device.lacks(config.hardware):
        return [MARKS["failure"], device.name, f"computes no bfloat16, {lacking}"]
    return [MARKS[VERDICT_LEVELS[outcome]], device.name, text]


def devices(found: Preflight) -> list[Device]:
    """The planned device first, then every other GPU of conf/planned_device/."""
    if found.config.hardware.device == "cpu":
        return [found.device]
    names = [name for name in device_names() if name not in ("cpu", found.device.name)]
    return [found.device, *map(load_device, names)]
