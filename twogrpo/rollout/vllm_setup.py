"""Starts vLLM in this process and preserves the process's threads and random state."""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PretrainedConfig

from twogrpo.config.schema import HardwareConfig, ModelConfig
from twogrpo.errors import ConfigError
from twogrpo.models.limits import check_context
from twogrpo.models.load import load_config, one_line, refused, source
from twogrpo.models.weights import check_stored

GIB = 2**30
ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # in this process: weights are copied in memory
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}
# vLLM on a CPU starts with smaller attention heads but fails at the first token.
SMALLEST_HEAD = 32
# Prompt tokens per prefill on a CPU; prompts are never chunked, see `arguments`.
PREFILL_TOKENS = 8192


def sleeps(hardware: HardwareConfig) -> bool:
    """Whether `VllmSampler.sleep` frees anything: on a CPU there is nothing to free."""
    return hardware.device == "cuda" and hardware.sleep_level > 0


def asleep_bytes() -> int:
    """GPU memory that a sleeping vLLM has given back, which torch goes on counting as its own."""
    allocator = getattr(sys.modules.get("vllm.device_allocator.cumem"), "CuMemAllocator", None)
    if allocator is None or allocator.instance is None:
        return 0
    blocks = allocator.instance.pointer_to_data.values()
    return sum(block.handle[1] for block in blocks if block.is_asleep)


def start(model: ModelConfig, hardware: HardwareConfig, *, context_tokens: int | None) -> Any:
    """Starts vLLM's engine with the weights in the model's folder.

    `context_tokens` is the longest prompt with its response; None is the model's own limit.

    Raises:
        ConfigError: vLLM is missing or built for another device, does not support the model, the
            context is too short, or there is too little memory.
    """
    if importlib.util.find_spec("vllm") is None:
        raise ConfigError(
            "rollout=vllm: vLLM is not installed, run `make setup-vllm` or use rollout=transformers"
        )
    check_model(load_config(model), model, hardware, context_tokens=context_tokens)
    check_stored(source(model), model.path)
    os.environ.update(ENVIRONMENT)
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    with preserved_process_state(hardware.device):
        try:
            from vllm import LLM
            from vllm.platforms import current_platform
        except ImportError as error:
            raise ConfigError(
                f"rollout=vllm: vLLM cannot be imported ({error}), run `make clean setup-vllm` or "
                "use rollout=transformers"
            ) from error
        if current_platform.is_cpu() != (hardware.device == "cpu"):
            other = "one_gpu" if hardware.device == "cpu" else "cpu"
            raise ConfigError(
                f"hardware.device={hardware.device}: the vLLM that is installed is for another "
                f"device, use hardware={other} or rollout=transformers, or rebuild the environment "
                f"with `make clean setup-vllm TORCH={hardware.device}`"
            )
        was_initialized = torch.distributed.is_initialized()
        try:
            return LLM(**arguments(model, hardware, context_tokens=context_tokens))
        except Exception as error:
            if not was_initialized:  # a failed start leaves it initialized
                from vllm.distributed import cleanup_dist_env_and_memory

                cleanup_dist_env_and_memory()
            key = "gpu_memory_share" if hardware.device == "cuda" else "kv_cache_gib"
            # vLLM says so where its share holds the weights but no cache.
            turn = "raise" if "ncreasing `gpu_memory_utilization`" in str(error) else "lower"
            missing = _missing_for_triton() if hardware.device == "cuda" else ""
            raise ConfigError(
                f"rollout=vllm: vLLM does not start with model.path={model.path} "
                f"({one_line(error)}): {missing}{turn} hardware.{key}={getattr(hardware, key)}, "
                "lower the response length, or use rollout=transformers, which names weights that "
                "do not fit"
            ) from error


def _missing_for_triton() -> str:
    """The remedy where Triton lacks what it builds kernels' launchers with; else empty.

    Before it is installed requirements/install.py looks for the same, but a run may start on
    another machine or without the shell's modules.
    """
    named, header = os.environ.get("CC"), Path(sysconfig.get_paths()["include"]) / "Python.h"
    if not any(map(shutil.which, ("gcc", "clang") if named is None else (named,))):
        return "install a C compiler (the one that CC names, else gcc or clang) for Triton; or "
    package = "python{}.{}-dev".format(*sys.version_info)
    return "" if header.is_file() else f"install {package} for Triton, {header} is missing; or "


def check_model(
    config: PretrainedConfig,
    model: ModelConfig,
    hardware: HardwareConfig,
    *,
    context_tokens: int | None,
) -> None:
    """Refuses a model that vLLM would accept and then fail on.

    Raises:
        ConfigError: the model's context or attention heads are too small.
    """
    check_context(config, model.path, context_tokens)
    text = config.get_text_config()
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    if hardware.device == "cpu" and head_dim < SMALLEST_HEAD:
        raise ConfigError(
            f"model.path={model.path}: its attention heads of {head_dim} are smaller than vLLM's"
            f" {SMALLEST_HEAD} on a CPU, use rollout=transformers"
        )


def arguments(
    model: ModelConfig, hardware: HardwareConfig, *, context_tokens: int | None
) -> dict[str, Any]:
    """The arguments of vLLM's `LLM`; sampling never comes from generation_config.json."""
    common = {
        "model": str(source(model)),
        "trust_remote_code": False,
        "dtype": hardware.sampler_dtype,
        "max_model_len": context_tokens,
        "max_num_seqs": hardware.rollouts_per_call,
        "tensor_parallel_size": hardware.tensor_parallel_size,
        # Where torchrun started us every rank makes its own engine, on its own device.
        "distributed_executor_backend": (
            "external_launcher" if torch.distributed.is_initialized() else None
        ),
        "generation_config": "vllm",
        "logprobs_mode": "processed_logprobs",  # at the temperature, like the policy's
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        "seed": 0,
    }
    if hardware.device == "cuda":
        return common | {
            "gpu_memory_utilization": hardware.gpu_memory_share,
            "enable_sleep_mode": sleeps(hardware),
            "compilation_config": _graphs(hardware.rollouts_per_call),
        }
    limit = getattr(load_config(model).get_text_config(), "max_position_embeddings", 0)
    longest = context_tokens or limit
    return common | {
        "kv_cache_memory_bytes": int(hardware.kv_cache_gib * GIB),
        # Compiling takes a minute or two and gains a fifth at best.
        "enforce_eager": True,
        # Chunked prefill breaks seeded requests on a CPU (its generator has no offset).
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(PREFILL_TOKENS, hardware.rollouts_per_call, longest),
    }


def _graphs(num_rollouts: int) -> dict[str, int]:
    """By default vLLM has CUDA graphs for all decode steps of up to 512 rollouts; above 256 the
    sizes that it adds for a bound are multiples of 16, and a larger step has none."""
    bound = num_rollouts + -num_rollouts % 16
    return {"max_cudagraph_capture_size": bound} if num_rollouts > 512 else {}


def weight_names(model: ModelConfig) -> dict[str, list[str]]:
    """Hugging Face names of the model's weights, each with the other names of the same tensor.

    vLLM itself accepts an incomplete set silently. It needs tied weights under each name: on a CPU
    its output layer keeps a copy of its own, in another layout.
    """
    config = load_config(model)
    architecture = getattr(transformers, (config.architectures or ["none"])[0], None)
    if architecture is None:
        raise ConfigError(
            f"model.path={model.path}: transformers does not know its architecture "
            f"{config.architectures}, use a model that it knows"
        )
    with refused(model), torch.device("meta"):
        loaded = architecture(config)
    tied = loaded.all_tied_weights_keys
    names: dict[str, list[str]] = {name: [] for name in loaded.state_dict() if name not in tied}
    for name, original in tied.items():
        names[original].append(name)
    return names


@contextmanager
def preserved_process_state(device: str) -> Iterator[None]:
    """Preserves what vLLM changes in this process: the random state, which it consumes and seeds,
    and `torch.set_num_threads`, which it disables; and hides its warnings.

    Beside a GPU it gets one thread: idle ones spin, and slow the thread that drives the GPU.
    """
    set_num_threads, num_threads = torch.set_num_threads, torch.get_num_threads()
    if device == "cuda":
        torch.set_num_threads(1)
    state = random.getstate()
    devices = [torch.cuda.current_device()] if device == "cuda" else []
    with torch.random.fork_rng(devices), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            torch.set_num_threads = set_num_threads
            torch.set_num_threads(num_threads)
            random.setstate(state)
