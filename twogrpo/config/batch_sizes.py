"""The batch sizes of a run, and the paper's for comparison."""

from __future__ import annotations

from twogrpo.config.schema import AlgorithmConfig, Config
from twogrpo.core.advantages import ADVANTAGES

# The paper's section on experiments.
PAPER_GENERATION = 512
PAPER_PROMPTS = 7500
PAPER_EPOCHS = 10


def batch_table(config: Config) -> str:
    """The batch sizes by name, a line each."""
    return "\n".join(f"  {name:<22}{value}" for name, value in batch_rows(config))


def batch_rows(config: Config) -> list[tuple[str, str]]:
    """The name and value of each size."""
    group_size, steps = config.algorithm.group_size, config.num_steps
    prompts = config.training.prompts_per_step
    return [
        ("prompts a step", f"{prompts:,}"),
        ("rollouts a step", f"{prompts * group_size:,}   (G = {group_size} a prompt)"),
        ("prompts a mini-batch", f"{config.prompts_per_minibatch:,}"),
        ("rollouts a mini-batch", f"{config.rollouts_per_minibatch:,}"),
        ("updates a step", f"{config.updates_per_step:,}"),
        ("steps", f"{steps:,}   ({config.training.epochs} epochs)"),
        ("updates in all", f"{steps * config.updates_per_step:,}"),
        ("rollouts in all", _total_rollouts(config)),
        ("learning rate", f"{config.learning_rate:g}"),
    ]


def paper_column(config: Config) -> list[str]:
    """The paper's value for each of `batch_rows`; "–" for an algorithm without published sizes.

    2-GRPO and 2-GRPO+RS have mini-batches of 256 prompts and a learning rate of 8e-6, the ablation
    32 prompts and 1e-6. For RS the paper gives only a bound of its rollouts: those of 16-GRPO.
    """
    group_size = config.algorithm.group_size
    if not _is_published(config.algorithm):
        return ["–"] * 9
    scale = 8 if config.algorithm.minibatch_scale > 1 else 1
    prompts = 32 * scale
    steps, updates = PAPER_PROMPTS * PAPER_EPOCHS // PAPER_GENERATION, 512 // prompts
    numbers = (PAPER_GENERATION, PAPER_GENERATION * group_size, prompts, prompts * group_size)
    is_bound = config.algorithm.resampling != "none"
    total = steps * PAPER_GENERATION * (16 if is_bound else group_size)
    return [
        *(f"{number:,}" for number in numbers),
        f"{updates:,}",
        f"{steps:,}",
        f"{steps * updates:,}",
        f"{'at most ' if is_bound else ''}{total:,}",
        f"{scale * 1e-6:g}",
    ]


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


def _total_rollouts(config: Config) -> str:
    per_group_size = config.num_steps * config.training.prompts_per_step
    total = f"{per_group_size * config.algorithm.group_size:,}"
    budget = config.algorithm.resampling_budget_group_size
    if config.algorithm.resampling == "none" or budget is None:
        return total
    return f"at least {total}, at most {per_group_size * budget:,} (resampling)"
