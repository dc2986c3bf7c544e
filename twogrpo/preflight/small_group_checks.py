"""Checks of what can go wrong with small groups."""

from __future__ import annotations

import torch

from twogrpo.config.schema import Config
from twogrpo.core.advantages import ADVANTAGES
from twogrpo.rollout.groups import rollout_seed


def safety_rows(config: Config) -> list[tuple[str, str, str]]:
    """What can go wrong with small groups: mark (✓, !), name and finding."""
    algorithm = config.algorithm
    rows = [*_advantage_rows(config), _seed_row(config)]
    cap = algorithm.importance_sampling_cap
    rows.append(
        ("✓", "corrections", "none that weighs the two halves of a pair differently")
        if cap is None
        else ("!", "corrections", f"importance_sampling_cap={cap} can weaken one half of a pair")
    )
    ranks, prompts = max(config.hardware.num_gpus, 1), config.training.prompts_per_step
    each, rest = divmod(prompts, ranks)
    rows.append(
        ("✓", "ranks", f"{prompts} prompts over {ranks}: {each} each")
        if not rest
        else ("!", "ranks", f"{prompts} prompts do not divide over {ranks} ranks: some wait")
    )
    return rows


def _advantage_rows(config: Config) -> list[tuple[str, str, str]]:
    name, epsilon = config.algorithm.advantage, config.algorithm.advantage_epsilon
    advantage = ADVANTAGES[name]
    if advantage.needs_reference_policy:
        return [("✓", "advantage", f"{name}: pairs of right and wrong, dead groups have none")]
    mixed, right, wrong = advantage.from_rewards(
        torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]), epsilon=epsilon
    ).tolist()
    is_paper = name in ("standardised_population", "class_balanced")
    is_zero = not any(right + wrong)
    return [
        (
            "✓" if is_paper else "!",
            "a mixed pair",
            f"{mixed[0]:+.3f}, {mixed[1]:+.3f} ({name}; the paper: ±1)",
        ),
        ("✓" if is_zero else "✗", "an equal pair", f"exactly {right[0]:g}, {right[1]:g}: no 0/0"),
    ]


def _seed_row(config: Config) -> tuple[str, str, str]:
    seeds = {rollout_seed(config.seed, 0, "prompt", i) for i in range(config.algorithm.group_size)}
    is_distinct = len(seeds) == config.algorithm.group_size
    return ("✓" if is_distinct else "✗", "seeds", "one for each rollout: no pair is twice the same")
