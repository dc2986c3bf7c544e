"""From a run's configuration to the work that it is and how that lies on devices."""

from __future__ import annotations

from dataclasses import replace

from omegaconf import DictConfig, OmegaConf

from twogrpo.config.cli import CONF
from twogrpo.config.schema import AlgorithmConfig, Config
from twogrpo.core.advantages import ADVANTAGES
from twogrpo.core.surrogates import SURROGATES
from twogrpo.preflight.assumed_lengths import Lengths
from twogrpo.preflight.memory.estimate import BYTES, Memory
from twogrpo.preflight.model_shapes import Architecture
from twogrpo.preflight.time.devices import Device
from twogrpo.preflight.time.resampling_rounds import same_prompt_rounds
from twogrpo.preflight.time.roofline import Cost, Placement, Workload, cost, whole_rounds
from twogrpo.preflight.zero_variance import Beta, Counts, fit_beta, forecast

ARMS = ("grpo", "two_grpo", "two_grpo_rs")
# Tokens of a block of vLLM's cache, what is not a whole one of a prompt is not shared.
VLLM_BLOCK = {"cuda": 16, "cpu": 128}
# Of the paper's benchmarks, problems in all; what an evaluation at the end draws 32 times each.
BENCHMARK_PROBLEMS = {
    "math500": 500,
    "amc23": 40,
    "minerva_math": 272,
    "aime25": 30,
    "olympiadbench": 675,
    "geometry3k_test": 601,
    "gsm8k_test": 1319,
}


def workload(
    config: Config,
    lengths: Lengths,
    success: Counts | Beta,
    *,
    skips_dead: bool = True,
    shares_prompts: bool = True,
) -> Workload:
    """One generation of the run; `skips_dead`: rows of advantage zero pass through nothing (ours),
    `shares_prompts`: a group's prompt passes once (ours).

    Resampling by new prompts keeps live groups alone while the budget lasts; by the same prompts,
    of those that are seldom mixed many stay dead. DPO knows no π_old, but before each update scores
    its pairs by the policy and the start policy (twogrpo/training/dpo.py).
    """
    algorithm, updates = config.algorithm, config.updates_per_step
    rounds, trained = _rounds(algorithm, success)
    has_old_logps = SURROGATES[algorithm.surrogate].uses_old_logps
    return Workload(
        prompts=config.training.prompts_per_step,
        group_size=algorithm.group_size,
        generations=config.num_steps,
        updates=updates,
        prompt_tokens=lengths.prompt,
        response_tokens=lengths.response,
        longest_tokens=config.dataset.max_response_tokens,
        trained_share=trained if skips_dead else 1.0,
        old_logps_share=has_old_logps * ((updates - 1) / updates if skips_dead else 1.0),
        rounds=rounds,
        reweighing_passes=2 if ADVANTAGES[algorithm.advantage].needs_reference_policy else 0,
        shares_prompts=shares_prompts,
    )


def _rounds(algorithm: AlgorithmConfig, success: Counts | Beta) -> tuple[tuple[float, ...], float]:
    """Of sampling, one after another, as shares of the batch; and the share of it that is live."""
    (expected,) = forecast(success, [algorithm.group_size])
    if algorithm.resampling == "none":
        return (1.0,), expected.contrastive_share
    budget = (algorithm.resampling_budget_group_size or 0) / algorithm.group_size
    if algorithm.resampling == "same_prompt":
        fitted = success if isinstance(success, Beta) else fit_beta(success)
        *rounds, dead = same_prompt_rounds(fitted, algorithm.group_size, int(budget))
        return tuple(rounds), 1 - dead
    draws = min(expected.draws_per_kept, budget)
    return whole_rounds(draws), min(1.0, draws * expected.contrastive_share)


def placement(config: Config, needed: Memory) -> Placement:
    """On the devices of `config.hardware`."""
    hardware, is_vllm = config.hardware, config.rollout.engine == "vllm"
    return Placement(
        devices=max(hardware.num_gpus, 1),
        tensor_parallel=hardware.tensor_parallel_size,
        policy_bytes=BYTES[hardware.dtype],
        sampler_bytes=BYTES[hardware.sampler_dtype],
        recomputes=hardware.activation_checkpointing,
        tokens_per_microbatch=hardware.tokens_per_microbatch,
        rollouts_per_call=hardware.rollouts_per_call,
        cache_bytes=max(needed.cache, 1.0) if is_vllm else float("inf"),
        sleeps=is_vllm and hardware.device != "cpu" and hardware.sleep_level > 0,
        prefix_block=VLLM_BLOCK[hardware.device] if is_vllm else 1e-9,
        offloads=hardware.cpu_offload and hardware.device != "cpu",
    )


def evaluation_cost(
    config: Config, model: Architecture, device: Device, lengths: Lengths, place: Placement
) -> float | None:
    """Hours of the evaluation at the end; None where the number of problems is not known here."""
    evaluation = config.evaluation
    if not evaluation.at_end:
        return 0.0
    counts = [
        evaluation.problems_per_benchmark or BENCHMARK_PROBLEMS.get(name)
        for name in evaluation.benchmarks
    ]
    if None in counts:
        return None
    work = Workload(
        prompts=sum(count for count in counts if count),
        group_size=evaluation.num_samples,
        generations=1,
        updates=1,
        prompt_tokens=lengths.prompt,
        response_tokens=lengths.response,
        longest_tokens=evaluation.max_response_tokens,
    )
    return cost(model, device, work, place).generate / 3600


def with_algorithm(config: Config, name: str) -> Config:
    """The same run with another arm of conf/algorithm/."""
    return replace(config, algorithm=_algorithm(name))


def _algorithm(name: str) -> AlgorithmConfig:
    values = OmegaConf.load(CONF / f"algorithm/{name}.yaml")
    assert isinstance(values, DictConfig)
    for parent in values.pop("defaults", []):
        values = OmegaConf.merge(OmegaConf.structured(_algorithm(parent)), values)
    return AlgorithmConfig(**OmegaConf.to_container(values))  # type: ignore[arg-type]


def own_arm(algorithm: AlgorithmConfig) -> str:
    """Its name in ARMS where it is one of the paper's, value for value; else name and group size.

    Always another name than theirs: an arm called `two_grpo` with G = 4 is `two_grpo_g4`.
    """
    if any(algorithm == _algorithm(name) for name in ARMS):
        return algorithm.name
    return f"{algorithm.name}_g{algorithm.group_size}"


def arm_costs(
    config: Config,
    model: Architecture,
    device: Device,
    lengths: Lengths,
    success: Counts | Beta,
    place: Placement,
) -> dict[str, tuple[Workload, Cost]]:
    """Of this run (`own_arm`) and, on the same data and devices, of the paper's arms, by name.

    An arm whose mini-batches do not divide the steps is left out; 16-GRPO's divide them
    wherever the run's own do.
    """
    runs = {own_arm(config.algorithm): config}
    for name in ARMS:
        other = with_algorithm(config, name)
        if config.training.prompts_per_step % other.prompts_per_minibatch == 0:
            runs.setdefault(name, other)
    works = {name: workload(run, lengths, success) for name, run in runs.items()}
    return {name: (work, cost(model, device, work, place)) for name, work in works.items()}
