"""Checks of what can go wrong with small groups."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from twogrpo.config.schema import AlgorithmConfig, Config
from twogrpo.core.advantages import ADVANTAGES
from twogrpo.preflight.compatibility import Finding
from twogrpo.rollout.groups import rollout_seed


def small_group_findings(config: Config) -> list[Finding]:
    """The findings on advantages, seeds, corrections and ranks, in this order."""
    algorithm, ranks = config.algorithm, max(config.hardware.num_gpus, 1)
    prompts, cap = config.training.prompts_per_step, algorithm.importance_sampling_cap
    # A pair with one seed for both would be twice the same response.
    seeds = {rollout_seed(config.seed, 0, "prompt", i) for i in range(algorithm.group_size)}
    is_distinct = len(seeds) == algorithm.group_size
    corrections = f"importance_sampling_cap={cap}: a cap can weaken one half of a pair"
    left = f"{prompts} prompts over {ranks} ranks, {prompts % ranks} left over"
    return [
        *_advantages(algorithm),
        Finding("ok" if is_distinct else "failure", "seeds", f"{len(seeds)} for a group"),
        Finding("ok" if cap is None else "warning", "corrections", corrections),
        Finding("warning" if prompts % ranks else "ok", "ranks", left),
    ]


def _advantages(algorithm: AlgorithmConfig) -> Iterator[Finding]:
    """The advantages of a pair with unequal rewards, and of pairs with equal ones."""
    name = algorithm.advantage
    if ADVANTAGES[name].refresh:  # a preference: made of pairs with unequal rewards only
        return
    unequal, *equal = (
        ADVANTAGES[name]
        .from_rewards(
            torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]), epsilon=algorithm.advantage_epsilon
        )
        .tolist()
    )
    is_paper = name in ("standardised_population", "class_balanced")
    text = f"{unequal[0]:+.3f}, {unequal[1]:+.3f} ({name}; the paper: ±1)"
    yield Finding("ok" if is_paper else "warning", "unequal pair", text)
    is_zero = not any(map(any, equal))
    yield Finding("ok" if is_zero else "failure", "equal pair", f"advantages {equal} (must be 0)")
