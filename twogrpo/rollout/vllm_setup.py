"""Starts vLLM inside this process and leaves the process as it was: threads, random state."""

from __future__ import annotations

import importlib.util
import os
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from transformers import PretrainedConfig

from twogrpo.errors import ConfigError
from twogrpo.models.context_length import check_context

GIB = 2**30
ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # in this process: weights go over in memory
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}
# vLLM's attention on a CPU takes smaller heads at the start and fails at the first token.
SMALLEST_HEAD = 32
# Prompts that a CPU takes in together; they are never cut, see `arguments`.
PREFILL_TOKENS = 8192


@dataclass(frozen=True)
class Settings:
    """What vLLM is started with: the model's folder or hub id, the rest from conf/hardware/.

    `context_tokens` is the longest prompt with its response; None takes the model's own limit.
    """

    path: str
    revision: str | None = None
    device: str = "cpu"
    dtype: str = "float32"
    context_tokens: int | None = None
    rollouts_per_call: int = 256
    kv_cache_gib: float = 1.0
    gpu_memory_share: float = 0.5
    tensor_parallel_size: int = 1
    sleep_level: int = 0

    @property
    def sleeps(self) -> bool:
        """Whether `VllmSampler.rest` frees anything: there is nothing to free on a CPU."""
        return self.device == "cuda" and self.sleep_level > 0


def start(settings: Settings) -> Any:
    """vLLM's engine with the weights of the model's folder.

    Raises:
        ConfigError: vLLM is missing or of the other kind, the model does not suit it, the context
            is too short, or the memory does not suffice.
    """
    if importlib.util.find_spec("vllm") is None:
        raise ConfigError(
            "rollout=vllm: vLLM is not installed, run `make setup-vllm` or use rollout=transformers"
        )
    check_model(load_config(settings), settings)
    os.environ.update(ENVIRONMENT)
    with preserved_process_state(settings.device):
        try:
            from vllm import LLM
            from vllm.platforms import current_platform
        except ImportError as error:
            raise ConfigError(
                f"rollout=vllm: vLLM cannot be imported ({error}), run `make clean setup-vllm` or "
                "use rollout=transformers"
            ) from error
        if current_platform.is_cpu() != (settings.device == "cpu"):
            other = "one_gpu" if settings.device == "cpu" else "cpu"
            raise ConfigError(
                f"hardware.device={settings.device}: the vLLM that is installed is for another "
                f"device, use hardware={other} or rollout=transformers, or make the environment "
                f"anew with `make clean setup-vllm TORCH={settings.device}`"
            )
        was_joined = torch.distributed.is_initialized()
        try:
            return LLM(**arguments(settings))
        except (ValueError, RuntimeError) as error:
            if not was_joined:  # it stays initialised when the start fails on the way
                from vllm.distributed import cleanup_dist_env_and_memory

                cleanup_dist_env_and_memory()
            raise ConfigError(
                f"rollout=vllm: vLLM does not start with model.path={settings.path} "
                f"({one_line(error)}): lower {_memory_keys(settings)}, lower the response length, "
                "or use rollout=transformers"
            ) from error


def load_config(settings: Settings) -> PretrainedConfig:
    """The model's configuration.

    Raises:
        ConfigError: it cannot be loaded.
    """
    try:
        return transformers.AutoConfig.from_pretrained(
            settings.path, revision=settings.revision, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"model.path={settings.path} cannot be loaded ({one_line(error)}): give a folder with "
            "weights, config and tokenizer, or a hub id that can be reached"
        ) from error


def check_model(config: PretrainedConfig, settings: Settings) -> None:
    """Refuses what vLLM would take and then fail at.

    Raises:
        ConfigError: the model's context or attention heads are too small.
    """
    check_context(config, settings.path, settings.context_tokens)
    text = config.get_text_config()
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    if settings.device == "cpu" and head_dim < SMALLEST_HEAD:
        raise ConfigError(
            f"model.path={settings.path}: its attention heads of {head_dim} are smaller than vLLM's"
            f" {SMALLEST_HEAD} on a CPU, use rollout=transformers"
        )


def arguments(settings: Settings) -> dict[str, Any]:
    """Of vLLM's `LLM`. Sampling never comes from the model's generation_config.json."""
    common = {
        "model": settings.path,
        "revision": settings.revision,
        "tokenizer_revision": settings.revision,
        "trust_remote_code": False,
        "dtype": settings.dtype,
        "max_model_len": settings.context_tokens,
        "max_num_seqs": settings.rollouts_per_call,
        "tensor_parallel_size": settings.tensor_parallel_size,
        # Where torchrun started us every rank makes its own engine, on its own device.
        "distributed_executor_backend": (
            "external_launcher" if torch.distributed.is_initialized() else None
        ),
        "generation_config": "vllm",
        "logprobs_mode": "processed_logprobs",  # at the temperature, as the policy's
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        "seed": 0,
    }
    if settings.device == "cuda":
        return common | {
            "gpu_memory_utilization": settings.gpu_memory_share,
            "enable_sleep_mode": settings.sleeps,
        }
    return common | {
        "kv_cache_memory_bytes": int(settings.kv_cache_gib * GIB),
        # Compiling takes a minute or two and gains a fifth at best.
        "enforce_eager": True,
        # A prompt taken in pieces breaks seeded requests on a CPU (its generator has no offset).
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(
            PREFILL_TOKENS, settings.rollouts_per_call, _context(settings)
        ),
    }


def weight_names(settings: Settings) -> dict[str, list[str]]:
    """Hugging Face names of the model's weights, each with the other names of the same tensor.

    vLLM itself takes an incomplete set without a word. Tied weights it must be given under each
    name: on a CPU its output layer keeps a copy of its own, in another layout.
    """
    config = load_config(settings)
    architecture = getattr(transformers, (config.architectures or ["none"])[0], None)
    if architecture is None:
        raise ConfigError(
            f"model.path={settings.path}: transformers does not know its architecture "
            f"{config.architectures}, use a model that it knows"
        )
    with torch.device("meta"):
        model = architecture(config)
    tied = model.all_tied_weights_keys
    names: dict[str, list[str]] = {name: [] for name in model.state_dict() if name not in tied}
    for name, source in tied.items():
        names[source].append(name)
    return names


@contextmanager
def preserved_process_state(device: str) -> Iterator[None]:
    """Keeps what vLLM changes for the whole process: the random state, which it consumes and seeds,
    and `torch.set_num_threads`, which it replaces by nothing; and hides its warnings."""
    set_num_threads, num_threads = torch.set_num_threads, torch.get_num_threads()
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


def one_line(error: BaseException) -> str:
    """What went wrong, short enough for a sentence."""
    words = " ".join(str(error).partition(" [type=")[0].split())  # pydantic adds its input there
    return words if len(words) <= 300 else f"{words[:300]} …"


def _context(settings: Settings) -> int:
    limit = getattr(load_config(settings).get_text_config(), "max_position_embeddings", 0)
    return settings.context_tokens or limit


def _memory_keys(settings: Settings) -> str:
    if settings.device == "cuda":
        return f"hardware.gpu_memory_share={settings.gpu_memory_share}"
    return f"hardware.kv_cache_gib={settings.kv_cache_gib}"
