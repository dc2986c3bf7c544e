"""Memory of one device: what lies in it between phases, during updates and during sampling.

Held against SmolLM2-135M's sizes in float32 on a CPU (2026-11-22, peak resident memory less the
empty process; state, activations and logits): 1,024 tokens 4.32 GiB predicted and 4.31 measured,
2,048 tokens 5.51 and 5.59, 1,024 with checkpointing 2.36 and 2.64 (−11 %). None was measured on a
GPU yet.
"""

from __future__ import annotations

from dataclasses import dataclass

from twogrpo.config import Config
from twogrpo.preflight.architectures import Architecture
from twogrpo.preflight.devices import Device

BYTES = {"float32": 4, "bfloat16": 2}
GIB = 2**30
# CUDA context, libraries' workspaces, what the allocator cannot use (ours).
OVERHEAD = 2.0 * GIB
# vLLM's own activations and CUDA graphs, inside its share (ours; its profiling decides).
SAMPLER_OVERHEAD = 4.0 * GIB
# Beyond this part of a device a plan that fits on paper may not (ours).
TIGHT = 0.92


@dataclass(frozen=True)
class Memory:
    """Bytes of one device. The sampler's weights and cache are held while it is awake."""

    weights: float
    gradients: float
    optimiser: float
    gathered: float
    activations: float
    logits: float
    sampler_weights: float
    cache: float
    sampler_overhead: float
    overhead: float
    is_awake_in_updates: bool

    @property
    def state(self) -> float:
        """Of the policy between phases."""
        return self.weights + self.gradients + self.optimiser

    @property
    def sampler(self) -> float:
        """Of the sampler, awake."""
        return self.sampler_weights + self.cache + self.sampler_overhead

    @property
    def update_peak(self) -> float:
        """While the policy is updated."""
        beside = self.sampler if self.is_awake_in_updates else 0.0
        return self.state + self.gathered + self.activations + self.logits + self.overhead + beside

    @property
    def sampling_peak(self) -> float:
        """While the sampler decodes, the policy resting beside it."""
        return self.state + self.sampler + self.overhead

    @property
    def peak(self) -> float:
        """The larger of the two."""
        return max(self.update_peak, self.sampling_peak)


def memory(config: Config, model: Architecture, device: Device) -> Memory:
    """Of each of `hardware.num_gpus` devices (one where that is 0).

    Weights, gradients and Adam's two moments are float32 and divided among the ranks (FSDP2); with
    `cpu_offload` they rest elsewhere.
    """
    hardware = config.hardware
    ranks = max(hardware.num_gpus, 1)
    share = 0.0 if hardware.cpu_offload else 4.0 * model.parameters / ranks
    is_gpu, has_vllm = hardware.device != "cpu", config.rollout.engine == "vllm"
    sampler_weights, cache = _sampler(config, model, device)
    return Memory(
        weights=share,
        gradients=share,
        optimiser=2 * share,
        gathered=_gathered(config, model, ranks),
        activations=activation_bytes(
            model,
            hardware.tokens_per_microbatch,
            bytes_per_value=BYTES[hardware.dtype],
            is_checkpointed=hardware.activation_checkpointing,
        ),
        logits=logits_bytes(
            model,
            min(hardware.logits_chunk_tokens, hardware.tokens_per_microbatch),
            bytes_per_value=BYTES[hardware.dtype],
        ),
        sampler_weights=sampler_weights,
        cache=cache,
        sampler_overhead=SAMPLER_OVERHEAD if has_vllm and is_gpu else 0.0,
        overhead=OVERHEAD if is_gpu else 0.5 * GIB,
        is_awake_in_updates=not (is_gpu and has_vllm) or hardware.sleep_level == 0,
    )


def activation_bytes(
    model: Architecture, num_tokens: int, *, bytes_per_value: int, is_checkpointed: bool
) -> float:
    """Of one micro-batch; flash attention, so that nothing grows with the square of the length.

    A layer keeps about 8 values of the hidden size a token (two norms with their float32 inputs,
    two residual sums), its queries, keys and values twice (before and after the rotation),
    attention's output, and 4 of the intermediate size (gate, its activation, up, their product).
    With checkpointing only each layer's input stays, and one layer is whole at a time.
    """
    queries, keys = model.heads * model.head_dim, model.kv_heads * model.head_dim
    layer = 8 * model.hidden + 3 * queries + 4 * keys + 4 * model.intermediate
    if is_checkpointed:
        # The backward pass of the one layer holds its gradients beside its values.
        return num_tokens * bytes_per_value * (model.layers * model.hidden + 2 * layer)
    return num_tokens * bytes_per_value * (model.layers + 1) * layer


def logits_bytes(model: Architecture, num_tokens: int, *, bytes_per_value: int) -> float:
    """Of one chunk: logits in the policy's dtype and in float32, and the gradient of either."""
    return 2.0 * num_tokens * model.vocabulary * (bytes_per_value + 4)


def _gathered(config: Config, model: Architecture, ranks: int) -> float:
    """Whole layers in the policy's dtype: one in use, one underway, and embedding and head."""
    if ranks == 1 and config.hardware.device == "cpu":
        return 0.0
    values = 2 * model.layer_parameters + model.embedding_parameters
    return float(values * BYTES[config.hardware.dtype])


def _sampler(config: Config, model: Architecture, device: Device) -> tuple[float, float]:
    """Its weights and its cache on one device; the cache is negative where nothing is left."""
    hardware, engine = config.hardware, config.rollout.engine
    width = BYTES[hardware.sampler_dtype]
    weights = model.parameters * width / hardware.tensor_parallel_size
    if engine == "vllm" and hardware.device != "cpu":
        share = hardware.gpu_memory_share * device.memory_bytes
        return weights, share - weights - SAMPLER_OVERHEAD
    if engine == "vllm":
        return weights, hardware.kv_cache_gib * GIB
    # The plain sampler keeps every sequence of a call at its full length.
    ranks = max(hardware.num_gpus, 1)
    rollouts = config.training.prompts_per_generation * config.algorithm.group_size // ranks
    length = config.dataset.max_prompt_tokens + config.dataset.max_response_tokens
    at_a_time = min(hardware.rollouts_per_call, rollouts)
    return weights, float(at_a_time * length * model.cache_bytes_per_token(width))


def verdict(needed: Memory, device: Device) -> str:
    """`fits`, `tight` (over 92 % of it) or `does not fit` (nor does a negative cache)."""
    if needed.cache <= 0 or needed.peak > device.memory_bytes:
        return "does not fit"
    return "tight" if needed.peak > TIGHT * device.memory_bytes else "fits"
