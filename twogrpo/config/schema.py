"""The types of all keys in conf/ with their bounds, and `parse`, which makes typed objects of YAML.

What a key means, its unit, its source and its value stand in conf/, the only place with values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from twogrpo.config.annotations import (
    COUNT,
    FILE_NAME,
    IDENTIFYING,
    NAMED,
    NOT_IDENTIFYING,
    NOT_NEGATIVE,
    POSITIVE,
    TAKES_MEMORY,
    TOKENS,
    Bounded,
    OneOf,
    check_keys,
)
from twogrpo.config.identity import Identified
from twogrpo.errors import ConfigError

T = TypeVar("T")

TEMPERATURE = Bounded(above=0, why="draws the same response every time")
TOP_P = Bounded(above=0, at_most=1)
DTYPE = OneOf(("float32", "bfloat16"))
RATE = Bounded(above=0, at_most=10**6)  # the product of two is finite
REPLACING = ("new_prompt", "same_prompt")  # these draw groups in place of zero-variance ones
RESAMPLINGS = ("none", *REPLACING, "skip_solved", "replay", "one_pair")


# Not frozen, because omegaconf cannot merge into nested frozen dataclasses; no code changes one.
@dataclass
class AlgorithmConfig:
    """What the update optimises (conf/algorithm/)."""

    name: Annotated[str, FILE_NAME]
    group_size: Annotated[int, Bounded(at_least=2, at_most=10_000)]
    minibatch_scale: Annotated[int, COUNT]
    learning_rate_scale: Annotated[float, RATE]
    advantage: str
    advantage_epsilon: Annotated[float, NOT_NEGATIVE]
    surrogate: str
    clip_low: Annotated[float, Bounded(above=0, at_most=1)]
    clip_high: Annotated[float, POSITIVE]
    preference_beta: Annotated[float, POSITIVE]
    aggregation: str
    resampling: Annotated[str, OneOf(RESAMPLINGS)]
    resampling_budget_group_size: Annotated[int | None, COUNT]
    importance_sampling_cap: Annotated[float | None, POSITIVE]

    def scaled(self, learning_rate: float) -> float:
        """The learning rate of this algorithm where the baseline's is `learning_rate`."""
        return learning_rate * self.learning_rate_scale

    @property
    def most_rollouts_per_prompt(self) -> int:
        """The rollouts drawn for each prompt of a batch, at most: a replacing resampling's budget,
        else the group size."""
        budget = self.resampling_budget_group_size if self.resampling in REPLACING else None
        return budget or self.group_size


@dataclass
class TrainingConfig:
    """Batch sizes, learning rate, length of the run (conf/training/)."""

    epochs: Annotated[int, COUNT]
    rollouts: Annotated[int | None, COUNT]
    sync_every: Annotated[int | None, COUNT]
    prompts_per_step: Annotated[int, COUNT]
    prompts_per_minibatch: Annotated[int, COUNT]
    learning_rate: Annotated[float, RATE]
    warmup_updates: Annotated[int, NOT_NEGATIVE]
    adam_beta1: Annotated[float, Bounded(at_least=0, below=1)]
    adam_beta2: Annotated[float, Bounded(at_least=0, below=1)]
    adam_epsilon: Annotated[float, POSITIVE]
    gradient_clip_norm: Annotated[float | None, POSITIVE]


@dataclass
class LoraConfig:
    """Adapters beside frozen weights (conf/lora/)."""

    rank: Annotated[int, COUNT]
    alpha: Annotated[int, COUNT]
    target_modules: Any  # "all-linear" or a list of names, checked in twogrpo/policy/lora.py
    learning_rate_scale: Annotated[float, POSITIVE]


@dataclass
class ModelConfig:
    """The initial policy (conf/model/)."""

    name: Annotated[str, NAMED]
    path: str
    revision: str | None
    prompt_template: str
    end_tokens: Any  # "auto" or a list of ids, checked in twogrpo/models/end_tokens.py
    lora: LoraConfig | None


@dataclass
class HubConfig:
    """A split of a data set on the hub, at a revision."""

    id: str
    config: str | None
    split: str
    revision: str | None


@dataclass
class DatasetConfig:
    """The training prompts (conf/dataset/)."""

    name: Annotated[str, NAMED]
    source: str
    path: str | None
    hub: HubConfig | None
    english_only: bool
    ids: str | None
    num_prompts: Annotated[int, TOKENS]
    seed: Annotated[int, NOT_NEGATIVE]
    max_prompt_tokens: Annotated[int, TOKENS]
    max_response_tokens: Annotated[int, TOKENS]


@dataclass
class RewardConfig:
    """The verifier (conf/reward/)."""

    name: str
    noise: Annotated[float, Bounded(at_least=0, at_most=1)]
    num_workers: Annotated[int | None, Bounded(at_least=1, at_most=1024), NOT_IDENTIFYING]
    deadline_seconds: Annotated[float | None, POSITIVE]


@dataclass
class RolloutConfig:
    """The sampler of training (conf/rollout/)."""

    engine: str
    temperature: Annotated[float, TEMPERATURE]
    top_p: Annotated[float, TOP_P]
    top_k: Annotated[int, NOT_NEGATIVE]


@dataclass
class DtypeBounds:
    """A bound for each dtype of the policy or the sampler, whichever is coarser."""

    float32: Annotated[float, POSITIVE]
    bfloat16: Annotated[float, POSITIVE]


@dataclass
class SyncCheckConfig:
    """The check after each weight sync that the sampler holds the policy's weights
    (conf/sync_check/)."""

    prompts: Annotated[int, NOT_NEGATIVE]
    tokens: Annotated[int, TOKENS]
    bounds: DtypeBounds
    kl_bounds: DtypeBounds


@dataclass
class HardwareConfig:
    """Devices, precision and memory (conf/hardware/); beyond rounding they change no number."""

    device: Annotated[str, OneOf(("cpu", "cuda"))]
    num_gpus: Annotated[int, Bounded(at_least=0, at_most=100_000)]
    num_threads: Annotated[int, Bounded(at_least=1, at_most=1024)]
    dtype: Annotated[str, DTYPE, IDENTIFYING]
    sampler_dtype: Annotated[str, DTYPE, IDENTIFYING]
    tokens_per_microbatch: Annotated[int, TOKENS, TAKES_MEMORY]
    logits_chunk_tokens: Annotated[int, TOKENS, TAKES_MEMORY]
    activation_checkpointing: bool
    compile: bool
    rollouts_per_call: Annotated[int, TOKENS, TAKES_MEMORY]
    kv_cache_gib: Annotated[float, POSITIVE]
    gpu_memory_share: Annotated[float, Bounded(above=0, below=1), TAKES_MEMORY]
    tensor_parallel_size: Annotated[int, COUNT]
    sleep_level: Annotated[int, OneOf((0, 1, 2))]


@dataclass
class EvaluationConfig:
    """Benchmarks and test sampling (conf/evaluation/)."""

    name: Annotated[str, NAMED]
    benchmarks: Annotated[list[str], FILE_NAME]
    source: str
    folder: str | None
    hub: dict[str, HubConfig]
    problems_per_benchmark: Annotated[int | None, COUNT]
    num_samples: Annotated[int, COUNT]
    temperature: Annotated[float, TEMPERATURE]
    top_p: Annotated[float, TOP_P]
    top_k: Annotated[int, NOT_NEGATIVE]
    seed: Annotated[int, NOT_NEGATIVE]
    at_end: bool
    validation_every: Annotated[int, NOT_NEGATIVE]
    validation_splits: list[str]
    validation_problems: Annotated[int, COUNT]
    validation_samples: Annotated[int, COUNT]
    max_prompt_tokens: Annotated[int, TOKENS]
    max_response_tokens: Annotated[int, TOKENS]
    keep_text: Annotated[bool, NOT_IDENTIFYING]


@dataclass
class CheckpointingConfig:
    """How often a run is saved (conf/checkpointing/)."""

    every: Annotated[int, TOKENS]
    kept: Annotated[int, TOKENS]
    preemption_grace_seconds: Annotated[float, POSITIVE]


@dataclass
class TrackingConfig:
    """The run's record and its mirror (conf/tracking/)."""

    wandb_mode: Annotated[str | None, OneOf(("offline", "online"))]
    wandb_project: str
    wandb_group: str
    progress_every_seconds: Annotated[float, NOT_NEGATIVE]
    kl_rollouts: Annotated[int, NOT_NEGATIVE]
    mismatch_rollouts: Annotated[int, NOT_NEGATIVE]
    gradient_cosine_every: Annotated[int, NOT_NEGATIVE]
    save_rollouts: bool
    saved_pairs: Annotated[int, NOT_NEGATIVE]


@dataclass
class Config(Identified):
    """A training run."""

    algorithm: AlgorithmConfig
    training: TrainingConfig
    model: ModelConfig
    dataset: DatasetConfig
    reward: RewardConfig
    rollout: RolloutConfig
    sync_check: Annotated[SyncCheckConfig, NOT_IDENTIFYING]
    hardware: Annotated[HardwareConfig, NOT_IDENTIFYING]
    evaluation: EvaluationConfig
    checkpointing: Annotated[CheckpointingConfig, NOT_IDENTIFYING]
    tracking: Annotated[TrackingConfig, NOT_IDENTIFYING]
    seed: Annotated[int, NOT_NEGATIVE]
    cell: Annotated[str | None, NOT_IDENTIFYING]
    run_name: Annotated[str, NAMED, NOT_IDENTIFYING]
    output_dir: Annotated[str, NAMED, NOT_IDENTIFYING]
    resume: Annotated[str, OneOf(("auto", "never")), NOT_IDENTIFYING]

    @property
    def prompts_per_minibatch(self) -> int:
        """The prompts whose rollouts go into one optimiser step."""
        return self.training.prompts_per_minibatch * self.algorithm.minibatch_scale

    @property
    def rollouts_per_minibatch(self) -> int:
        """The rollouts that go into one optimiser step."""
        is_one_pair = self.algorithm.resampling == "one_pair"
        return self.prompts_per_minibatch * (2 if is_one_pair else self.algorithm.group_size)

    @property
    def updates_per_step(self) -> int:
        """The optimiser steps of one step of the loop."""
        return self.training.prompts_per_step // self.prompts_per_minibatch

    @property
    def num_steps(self) -> int:
        """The steps of the run; an incomplete last one is not taken (paper: 146.5 → 146)."""
        prompts = self.training.epochs * self.dataset.num_prompts
        if self.training.rollouts is not None:
            prompts = self.training.rollouts // self.algorithm.most_rollouts_per_prompt
        return prompts // self.training.prompts_per_step

    @property
    def learning_rate(self) -> float:
        """The learning rate after the warm-up."""
        of_adapters = self.model.lora.learning_rate_scale if self.model.lora else 1.0
        return self.algorithm.scaled(self.training.learning_rate) * of_adapters


def parse(cfg: DictConfig, schema: type[T]) -> T:
    """Returns the typed object of a composed configuration.

    Raises:
        ConfigError: a key is unknown or missing, or a value has the wrong type.
    """
    try:
        typed = OmegaConf.merge(OmegaConf.structured(schema), cfg)
        missing = sorted(OmegaConf.missing_keys(typed))
        if missing:
            raise ConfigError(f"{missing[0]}=??? is not set: give it a value, {missing[0]}=…")
        config: T = OmegaConf.to_object(typed)  # type: ignore[assignment]
        check_keys(config)
        return config
    except OmegaConfBaseException as error:
        raise ConfigError(one_line(error)) from error


def one_line(error: OmegaConfBaseException) -> str:
    """Returns `key: what is wrong`; omegaconf's own message has several lines."""
    message = str(error.msg or error).splitlines()[0]
    if error.full_key is not None and error.full_key not in message:
        message = f"{error.full_key}: {message}"
    return f"{message}: see --cfg job for all keys, conf/ for what each means"
