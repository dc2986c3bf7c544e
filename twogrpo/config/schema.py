"""The one door where YAML becomes typed objects: the schema of conf/ and `parse`.

What a key means, its unit and its source stand beside its value in conf/, the only place where
values live; here stand the types.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from twogrpo.config.identity import identifying, identity_of
from twogrpo.errors import ConfigError

T = TypeVar("T")


# Not frozen: omegaconf cannot merge into nested frozen dataclasses. Treat them as if they were.
@dataclass
class AlgorithmConfig:
    """What the update optimises (conf/algorithm/)."""

    name: str
    group_size: int
    minibatch_scale: int
    learning_rate_scale: float
    advantage: str
    advantage_epsilon: float
    surrogate: str
    clip_low: float
    clip_high: float
    preference_beta: float
    aggregation: str
    resampling: str
    resampling_budget_group_size: int | None
    importance_sampling_cap: float | None


@dataclass
class TrainingConfig:
    """Batch sizes, learning rate, length of the run (conf/training/)."""

    epochs: int
    prompts_per_step: int
    prompts_per_minibatch: int
    learning_rate: float
    warmup_updates: int
    adam_beta1: float
    adam_beta2: float
    adam_epsilon: float
    gradient_clip_norm: float | None
    checkpoint_every: int
    checkpoints_kept: int
    preemption_grace_seconds: float


@dataclass
class ModelConfig:
    """The start policy (conf/model/)."""

    name: str
    path: str
    revision: str | None
    prompt_template: str


@dataclass
class HubConfig:
    """A split of a data set on the hub, at a revision."""

    id: str
    config: str | None
    split: str
    revision: str | None


@dataclass
class DatasetConfig:
    """The prompts (conf/dataset/)."""

    name: str
    source: str
    path: str | None
    hub: HubConfig | None
    english_only: bool
    ids: str | None
    num_prompts: int
    seed: int
    max_prompt_tokens: int
    max_response_tokens: int


@dataclass
class RewardConfig:
    """The verifier (conf/reward/)."""

    name: str
    num_workers: int | None
    deadline_seconds: float | None


@dataclass
class RolloutConfig:
    """The sampler of training (conf/rollout/)."""

    engine: str
    temperature: float
    top_p: float
    top_k: int
    canary_prompts: int
    canary_tokens: int
    canary_bounds: dict[str, float]
    canary_kl_bounds: dict[str, float]


@dataclass
class HardwareConfig:
    """Knobs that change no number beyond rounding (conf/hardware/)."""

    device: str
    num_gpus: int
    num_threads: int
    dtype: str
    sampler_dtype: str
    tokens_per_microbatch: int
    logits_chunk_tokens: int
    activation_checkpointing: bool
    cpu_offload: bool
    compile: bool
    rollouts_per_call: int
    kv_cache_gib: float
    gpu_memory_share: float
    tensor_parallel_size: int
    sleep_level: int


@dataclass
class EvaluationConfig:
    """Benchmarks and test sampling (conf/evaluation/)."""

    name: str
    benchmarks: list[str]
    source: str
    folder: str | None
    hub: dict[str, HubConfig]
    problems_per_benchmark: int | None
    num_samples: int
    temperature: float
    top_p: float
    top_k: int
    seed: int
    at_end: bool
    validation_every: int
    validation_problems: int
    validation_samples: int
    max_prompt_tokens: int
    max_response_tokens: int
    keep_text: bool


@dataclass
class TrackingConfig:
    """The record and its mirror (conf/tracking/)."""

    wandb_mode: str | None
    wandb_project: str
    wandb_group: str
    progress_every_seconds: float
    kl_rollouts: int
    mismatch_rollouts: int
    gradient_cosine_every: int
    save_rollouts: bool


@dataclass
class Config:
    """A training run."""

    algorithm: AlgorithmConfig
    training: TrainingConfig
    model: ModelConfig
    dataset: DatasetConfig
    reward: RewardConfig
    rollout: RolloutConfig
    hardware: HardwareConfig
    evaluation: EvaluationConfig
    tracking: TrackingConfig
    seed: int
    run_name: str
    output_dir: str
    resume: str

    @property
    def prompts_per_minibatch(self) -> int:
        """Prompts whose rollouts one optimiser step sees."""
        return self.training.prompts_per_minibatch * self.algorithm.minibatch_scale

    @property
    def rollouts_per_minibatch(self) -> int:
        """Rollouts that one optimiser step sees."""
        return self.prompts_per_minibatch * self.algorithm.group_size

    @property
    def updates_per_step(self) -> int:
        """Optimiser steps between two steps."""
        return self.training.prompts_per_step // self.prompts_per_minibatch

    @property
    def num_steps(self) -> int:
        """Loop steps of the run; a last incomplete step is not begun (paper: 146.5 → 146)."""
        prompts = self.training.epochs * self.dataset.num_prompts
        return prompts // self.training.prompts_per_step

    @property
    def learning_rate(self) -> float:
        """After the warm-up."""
        return self.training.learning_rate * self.algorithm.learning_rate_scale

    def identity(self) -> str:
        """Hash of every value that can change a number beyond rounding.

        Two runs with the same identity and the same code are the same run; where its record lies,
        how it is tracked and saved, and the hardware knobs but the dtype, are left out.
        """
        return identity_of(self.identifying())

    def identifying(self) -> dict[str, Any]:
        """Those values, by dotted key."""
        return identifying(asdict(self))


def parse(cfg: DictConfig, schema: type[T]) -> T:
    """The typed object of a composed configuration.

    Raises:
        ConfigError: a key is unknown or missing, or a value has the wrong type.
    """
    try:
        typed = OmegaConf.merge(OmegaConf.structured(schema), cfg)
        missing = sorted(OmegaConf.missing_keys(typed))
        if missing:
            raise ConfigError(f"{missing[0]}=??? is not set: give it a value, {missing[0]}=…")
        return OmegaConf.to_object(typed)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        raise ConfigError(one_line(error)) from error


def one_line(error: OmegaConfBaseException) -> str:
    """`key: what is wrong` from omegaconf's several lines."""
    message = str(error.msg or error).splitlines()[0]
    if error.full_key is not None and error.full_key not in message:
        message = f"{error.full_key}: {message}"
    return f"{message}: see --cfg job for all keys, conf/ for what each means"
