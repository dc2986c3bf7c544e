"""The batch sizes of a run, and the paper's for comparison."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twogrpo.config.schema import AlgorithmConfig, Config
from twogrpo.core.advantages import ADVANTAGES

# The paper's section on experiments; of 7,500 prompts.
PAPER_TRAINING: dict[str, Any] = {
    "epochs": 10, "rollouts": None, "prompts_per_step": 512, "prompts_per_minibatch": 32,
    "learning_rate": 1e-6,
}  # fmt: skip
TOTAL = 7  # the row of all rollouts, of which resampling knows bounds only


def batch_table(config: Config) -> str:
    """The batch sizes by name, a line each."""
    return "\n".join(f"  {name:<22}{value}" for name, value in batch_rows(config))


def batch_rows(config: Config) -> list[tuple[str, str]]:
    """The name and value of each size."""
    group_size, steps = config.algorithm.group_size, config.num_steps
    prompts, budget = config.training.prompts_per_step, config.algorithm.most_rollouts_per_prompt
    total = f"{steps * prompts * group_size:,}"
    epochs: float = config.training.epochs
    if config.training.rollouts is not None:
        epochs = steps * prompts / config.dataset.num_prompts
    if budget > group_size:
        total = f"at least {total}, at most {steps * prompts * budget:,} (resampling)"
    return [
        ("prompts a step", f"{prompts:,}"),
        ("rollouts a step", f"{prompts * group_size:,}   (G = {group_size} a prompt)"),
        ("prompts a mini-batch", f"{config.prompts_per_minibatch:,}"),
        ("rollouts a mini-batch", f"{config.rollouts_per_minibatch:,}"),
        ("updates a step", f"{config.updates_per_step:,}"),
        ("steps", f"{steps:,}   ({epochs:g} epochs)"),
        ("updates in all", f"{steps * config.updates_per_step:,}"),
        ("rollouts in all", total),
        ("learning rate", f"{config.learning_rate:g}"),
    ]


def paper_column(config: Config) -> list[str]:
    """The paper's value for each of `batch_rows`; "–" for an algorithm without published sizes.

    2-GRPO and 2-GRPO+RS have mini-batches of 256 prompts and a learning rate of 8e-6, the ablation
    32 prompts and 1e-6. For RS the paper gives only a bound of its rollouts: those of 16-GRPO.
    """
    algorithm = config.algorithm
    if not _is_published(algorithm):
        return ["–"] * 9
    scale = 8 if algorithm.minibatch_scale > 1 else 1
    paper = replace(
        config,
        model=replace(config.model, lora=None),
        algorithm=replace(
            algorithm, minibatch_scale=scale, learning_rate_scale=scale, resampling="none"
        ),
        training=replace(config.training, **PAPER_TRAINING),
        dataset=replace(config.dataset, num_prompts=7500),
    )
    column = [value.split()[0] for _, value in batch_rows(paper)]
    if algorithm.resampling != "none":
        column[TOTAL] = f"at most {paper.num_steps * paper.training.prompts_per_step * 16:,}"
    return column


def _is_published(algorithm: AlgorithmConfig) -> bool:
    """Whether the paper gives batch sizes: for GRPO, 2-GRPO (pairs in larger mini-batches) and
    2-GRPO+RS (new prompts for zero-variance groups)."""
    names = (algorithm.advantage, algorithm.surrogate, algorithm.aggregation)
    if names != ("standardised_population", "token_ratio_clipped", "sequence_mean_of_token_means"):
        return False
    is_two_grpo = algorithm.group_size == 2 and algorithm.minibatch_scale > 1
    if algorithm.resampling != "none":
        return is_two_grpo and algorithm.resampling == "new_prompt"
    return is_two_grpo or (algorithm.minibatch_scale == 1 and algorithm.group_size in (2, 4, 8, 16))


def needs_reference_policy(config: Config) -> bool:
    """Whether the run compares with the initial policy: KL, the cosine, or its advantages."""
    tracking = config.tracking
    return bool(
        tracking.kl_rollouts
        or tracking.gradient_cosine_every
        or ADVANTAGES[config.algorithm.advantage].needs_reference_policy
    )
