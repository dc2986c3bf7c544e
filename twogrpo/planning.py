"""What a run is about to do, in numbers, before it does it."""

from __future__ import annotations

from twogrpo.config import Config


def batch_table(config: Config) -> str:
    """The batch sizes, each with what it counts; the first thing that a run prints."""
    group_size, generations = config.algorithm.group_size, config.num_generations
    prompts = config.training.prompts_per_generation
    rows = [
        ("prompts a generation", f"{prompts:,}"),
        ("rollouts a generation", f"{prompts * group_size:,}   (G = {group_size} a prompt)"),
        ("prompts a mini-batch", f"{config.prompts_per_minibatch:,}"),
        ("rollouts a mini-batch", f"{config.rollouts_per_minibatch:,}"),
        ("updates a generation", f"{config.updates_per_generation:,}"),
        ("generations", f"{generations:,}   ({config.training.epochs} epochs)"),
        ("updates in all", f"{generations * config.updates_per_generation:,}"),
        ("rollouts in all", _total_rollouts(config)),
        ("learning rate", f"{config.learning_rate:g}"),
    ]
    return "\n".join(f"  {name:<22}{value}" for name, value in rows)


def _total_rollouts(config: Config) -> str:
    per_group_size = config.num_generations * config.training.prompts_per_generation
    total = f"{per_group_size * config.algorithm.group_size:,}"
    budget = config.algorithm.resampling_budget_group_size
    if config.algorithm.resampling == "none" or budget is None:
        return total
    return f"at least {total}, at most {per_group_size * budget:,} (resampling)"
