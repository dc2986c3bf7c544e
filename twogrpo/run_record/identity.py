"""Which values make two recorded configurations the same run, or the same training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twogrpo.config.identity import flatten


def training_identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a configuration's `training` section, by dotted key."""
    return flatten({"training": config["training"]})


def first_difference(earlier: dict[str, Any], current: Mapping[str, Any]) -> str:
    """The first identifying value of `current` that another configuration has otherwise.

    `earlier` is a configuration by section, `current` are identifying values by dotted key.

    >>> first_difference({"seed": 0, "training": {"epochs": 1}}, {"seed": 0, "training.epochs": 2})
    'training.epochs=1 there, 2 here'
    """
    there = flatten(earlier)
    for key, value in current.items():
        if there.get(key) != value:
            return f"{key}={there.get(key)} there, {value} here"
    return "a key is gone"
