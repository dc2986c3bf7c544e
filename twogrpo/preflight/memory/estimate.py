"""Memory of one device: between phases, during updates, during sampling and during weight sync.

Compared with SmolLM2-135M on a CPU: peaks of the policy alone in float32 (2026-11-22; 4.31, 5.59
and, with checkpointing, 2.64 GiB) within 4 %; complete steps in bfloat16 whose every row was full
and trained on (2026-11-23; 4.73 and 4.32 GiB) 2 and 9 % above; of real samples, where rows without
an advantage are skipped, 16 and 35 % above (3.98 and 3.50 GiB). There freed memory is kept, so a
long run's process grows (16-GRPO's by half). Never compared with the peak of a sharded run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from twogrpo.config.batch_sizes import needs_reference_policy
from twogrpo.config.schema import Config
from twogrpo.preflight.devices import Device
from twogrpo.preflight.memory.activations import (
    Lengths,
    activation_bytes,
    head_gradient_bytes,
    largest_microbatch,
    logits_bytes,
)
from twogrpo.preflight.model_shapes import Architecture

BYTES = {"float32": 4, "bfloat16": 2}
GIB = 2**30
# The CUDA context, the libraries' workspaces, what the allocator cannot use (ours).
OVERHEAD = 2.0 * GIB
# A process on a CPU before it has loaded a model: Python and the libraries (measured).
CPU_OVERHEAD = 0.64 * GIB
# vLLM's own activations and CUDA graphs, inside its share (ours; its profiling decides).
SAMPLER_OVERHEAD = 4.0 * GIB
# What its sampling takes beyond its share: float32 copies of the logits at a temperature (ours).
SAMPLING_OVERHEAD = 2.0 * GIB
# Its CUDA graphs, which stay on the GPU while it sleeps (ours; vLLM says what capturing them took).
CUDA_GRAPHS = 1.0 * GIB
# Beyond this part of a device a plan that fits on paper may not (ours).
TIGHT = 0.92


@dataclass(frozen=True)
class Memory:
    """Bytes on one device. The sampler holds weights and cache while it is awake, and
    `sampler_in_updates` during updates: vLLM asleep its CUDA graphs, the transformers sampler its
    weights alone."""

    weights: float
    gradients: float
    optimiser: float
    reference_policy: float
    gathered: float
    casts: float
    activations: float
    logits: float
    head_gradient: float
    sync: float
    sampler_weights: float
    cache: float
    sampler_overhead: float
    sampler_in_updates: float
    overhead: float

    @property
    def state(self) -> float:
        """The state of the policy, and of the reference policy if there is one, between phases."""
        return self.weights + self.gradients + self.optimiser + self.reference_policy

    @property
    def update_peak(self) -> float:
        """The peak of an update: at the start of a backward pass."""
        passes = self.gathered + self.casts + self.activations + self.logits + self.head_gradient
        return self.state + passes + self.overhead + self.sampler_in_updates

    @property
    def sampling_peak(self) -> float:
        """The peak of sampling, with the policy's state in memory."""
        sampler = self.sampler_weights + self.cache + self.sampler_overhead
        beyond = SAMPLING_OVERHEAD if self.sampler_overhead else 0.0
        return self.state + sampler + beyond + self.overhead

    @property
    def sync_peak(self) -> float:
        """The peak while the sampler, its cache empty or still asleep, takes the new weights."""
        held = max(self.sampler_in_updates, self.sampler_weights + self.sampler_overhead)
        return self.state + held + self.sync + self.overhead

    @property
    def peak(self) -> float:
        """The largest of the three."""
        return max(self.update_peak, self.sampling_peak, self.sync_peak)


def memory(
    config: Config, model: Architecture, device: Device, lengths: Lengths | None = None
) -> Memory:
    """The memory of each of `hardware.num_gpus` devices (one where that is 0).

    Weights, gradients, Adam's two moments and the reference policy are float32 and divided among
    the ranks (FSDP2). One process on a CPU is not sharded: its passes run under autocast, which
    keeps a copy of the weights in their dtype. With LoRA only the adapters are all of that: the
    weights are there once, in the dtype of the passes, and are the reference policy too.
    """
    hardware, is_vllm = config.hardware, config.rollout.engine == "vllm"
    ranks, width = max(hardware.num_gpus, 1), BYTES[hardware.dtype]
    lora = config.model.lora
    trained, adapters = model.trained_parameters(lora), model.adapters(lora)
    share, frozen = 4.0 * trained / ranks, width * model.parameters / ranks if lora else 0.0
    is_gpu = hardware.device != "cpu"
    is_sharded = is_gpu or hardware.num_gpus > 1  # one GPU is a shard of its own
    is_autocast = not is_sharded and width < 4
    reference = share * width / 4 if is_sharded else share
    tokens = largest_microbatch(config, lengths or Lengths.assumed(config))
    chunk = int(min(hardware.logits_chunk_tokens, tokens.distinct))
    sampler_weights, cache = _sampler(config, model, device)
    sampler_overhead = SAMPLER_OVERHEAD if is_gpu and is_vllm else 0.0
    is_asleep = is_gpu and is_vllm and hardware.sleep_level > 0
    awake = sampler_weights + (cache + sampler_overhead if is_vllm else 0.0)
    # In the policy's dtype: the layer in use, the next one, and embedding and head.
    layer = model.layer_parameters + sum(adapters)
    gathered = (2 * layer + model.embedding_parameters) * width
    # In float32: vLLM takes the weights one by one, at most the embedding; the transformers
    # sampler takes all of them together.
    synced = model.vocabulary * model.hidden if is_vllm else model.parameters
    return Memory(
        weights=frozen + share,
        gradients=share,
        optimiser=2 * share,
        reference_policy=reference if needs_reference_policy(config) and not lora else 0.0,
        gathered=float(gathered) if is_sharded else 0.0,
        casts=float(width * (trained if lora else model.active_parameters)) if is_autocast else 0.0,
        activations=activation_bytes(
            model,
            tokens,
            bytes_per_value=width,
            is_checkpointed=hardware.activation_checkpointing,
            is_autocast=is_autocast,
            adapter_width=lora.rank * len(adapters) if lora else 0,
        ),
        logits=logits_bytes(model, chunk, bytes_per_value=width),
        head_gradient=0.0 if lora else head_gradient_bytes(model, bytes_per_value=width),
        sync=4.0 * synced if is_sharded or lora else 0.0,
        sampler_weights=sampler_weights,
        cache=cache,
        sampler_overhead=sampler_overhead,
        sampler_in_updates=CUDA_GRAPHS if is_asleep else awake,
        overhead=OVERHEAD if is_gpu else CPU_OVERHEAD,
    )


def _sampler(config: Config, model: Architecture, device: Device) -> tuple[float, float]:
    """The sampler's weights and cache on a device; vLLM's cache is negative if nothing is left."""
    hardware, engine = config.hardware, config.rollout.engine
    width = BYTES[hardware.sampler_dtype]
    weights = model.parameters * width / hardware.tensor_parallel_size
    if engine == "vllm" and hardware.device != "cpu":
        share = hardware.gpu_memory_share * device.memory_bytes
        return weights, share - weights - SAMPLER_OVERHEAD
    if engine == "vllm":
        return weights, hardware.kv_cache_gib * GIB
    # The transformers sampler keeps every sequence of a call at full length; one rank has a group.
    prompts = math.ceil(config.training.prompts_per_step / max(hardware.num_gpus, 1))
    rollouts = prompts * config.algorithm.group_size
    length = config.dataset.max_prompt_tokens + config.dataset.max_response_tokens
    at_a_time = min(hardware.rollouts_per_call, rollouts)
    return weights, float(at_a_time * length * model.cache_bytes_per_token(width))


def verdict(needed: Memory, device: Device) -> str:
    """`fits`, `tight` (over 92 % of the device) or `does not fit`, which is also the verdict where
    vLLM's share leaves no room for its cache."""
    if needed.cache <= 0 or needed.peak > device.memory_bytes:
        return "does not fit"
    return "tight" if needed.peak > TIGHT * device.memory_bytes else "fits"
