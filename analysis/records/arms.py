"""What an arm of the comparison is: derived from a run's config, never from a folder's name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Arm:
    """An arm's name, the same in every table and figure, and how it is drawn."""

    key: str
    label: str
    colour: str
    marker: str
    dashes: str = "-"


# Okabe and Ito's palette: told apart with every common colour blindness, and by marker in grey.
ARMS = {
    arm.key: arm
    for arm in (
        Arm("base", "start", "#666666", "X"),
        Arm("grpo_g16", "16-GRPO", "#0072B2", "o"),
        Arm("two_grpo", "2-GRPO", "#D55E00", "s"),
        Arm("two_grpo_rs", "2-GRPO+RS", "#009E73", "^"),
        Arm("grpo_g8", "8-GRPO", "#56B4E9", "v", "--"),
        Arm("grpo_g4", "4-GRPO", "#E69F00", "D", "--"),
        Arm("grpo_g2", "2-GRPO, small batch", "#CC79A7", "P", "--"),
        Arm("dpo", "DPO", "#000000", "*", ":"),
    )
}
MAIN = ("base", "grpo_g16", "two_grpo", "two_grpo_rs")
# The ablation: the same prompts a mini-batch and learning rate at every group size.
ABLATION = ("grpo_g2", "grpo_g4", "grpo_g8", "grpo_g16")
SPARE = (("#7F3C8D", "<"), ("#8B6914", ">"), ("#4B4B4B", "h"), ("#A0522D", "d"))


def arm_key(config: dict[str, Any]) -> str:
    """The arm of a config: its algorithm, with the group size where that is not in the name.

    A config without an algorithm is an evaluation of the untrained model: `base`.

    >>> arm_key({"algorithm": {"name": "grpo", "group_size": 4}})
    'grpo_g4'
    >>> arm_key({"algorithm": {"name": "two_grpo", "group_size": 2}})
    'two_grpo'
    """
    algorithm = config.get("algorithm") or {"name": "base"}
    name, group_size = str(algorithm["name"]), algorithm.get("group_size")
    usual = {"base": group_size, "two_grpo": 2, "two_grpo_rs": 2, "dpo": 2}.get(name)
    return name if usual == group_size else f"{name}_g{group_size}"


def arm(key: str) -> Arm:
    """Its look; arms outside the paper get a spare colour that depends on their name alone."""
    if key in ARMS:
        return ARMS[key]
    colour, marker = SPARE[sum(map(ord, key)) % len(SPARE)]
    return Arm(key, key, colour, marker, "-.")


def in_order(keys: Iterable[str]) -> list[str]:
    """The paper's order, then the alphabet's."""
    known = list(ARMS)
    unique = set(keys)
    return [key for key in known if key in unique] + sorted(unique - set(known))
