"""The arms of the comparison: their keys, names and training, from a run's configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from twogrpo.config.identity import flatten

# The key of an arm and its name in every table and figure, in the paper's order.
LABELS = {
    "base": "start",
    "grpo_g16": "16-GRPO",
    "two_grpo": "2-GRPO",
    "two_grpo_rs": "2-GRPO+RS",
    "grpo_g8": "8-GRPO",
    "grpo_g4": "4-GRPO",
    "grpo_g2": "2-GRPO, small batch",
    "dpo": "DPO",
}
MAIN = ("base", "grpo_g16", "two_grpo", "two_grpo_rs")
# The ablation: the same prompts a mini-batch and learning rate at every group size.
ABLATION = ("grpo_g2", "grpo_g4", "grpo_g8", "grpo_g16")


def arm_key(config: Mapping[str, Any]) -> str:
    """The arm of a configuration: its algorithm, with the group size where the name leaves it open.

    A cell of a study is an arm of its own. A configuration without an algorithm is an evaluation of
    the initial model: `base`.

    >>> arm_key({"algorithm": {"name": "grpo", "group_size": 4}})
    'grpo_g4'
    >>> arm_key({"algorithm": {"name": "two_grpo", "group_size": 2}})
    'two_grpo'
    """
    if config.get("cell"):
        return str(config["cell"])
    algorithm = config.get("algorithm") or {"name": "base"}
    name, group_size = str(algorithm["name"]), algorithm.get("group_size")
    usual = {"base": group_size, "two_grpo": 2, "two_grpo_rs": 2, "dpo": 2}.get(name)
    return name if usual == group_size else f"{name}_g{group_size}"


def training_identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """The values that all arms of a comparison share: `training`'s, by dotted key."""
    return flatten({"training": config["training"]})


def arm_label(key: str) -> str:
    """The name of an arm; the key itself for an arm outside the paper.

    >>> arm_label("grpo_g16"), arm_label("grpo_g64")
    ('16-GRPO', 'grpo_g64')
    """
    return LABELS.get(key, key)


def in_order(keys: Iterable[str]) -> list[str]:
    """The keys, each once, in the paper's order and then the alphabet's.

    >>> in_order(["zeta", "two_grpo", "base", "base"])
    ['base', 'two_grpo', 'zeta']
    """
    unique = set(keys)
    return [key for key in LABELS if key in unique] + sorted(unique - set(LABELS))
