"""Which values of a configuration identify a run; without omegaconf, for the run record."""

from __future__ import annotations

import hashlib
import json
from typing import Any

# Beginnings of the keys that say where a run's record lies, how it is tracked and saved, and what
# changes no number beyond rounding.
NOT_IDENTIFYING = (
    "run_name",
    "output_dir",
    "resume",
    "reward.num_workers",
    "tracking.",
    "hardware.",
    "rollout.canary",
    "training.checkpoint",
    "training.preemption",
    "evaluation.keep_text",
)


def identifying(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values that make a run what it is, by dotted key.

    >>> identifying({"seed": 1, "hardware": {"dtype": "float32", "num_threads": 2}})
    {'seed': 1, 'hardware.dtype': 'float32'}
    """
    flat = dict[str, Any]()
    for name, value in values.items():
        key = prefix + name
        if isinstance(value, dict):
            flat |= identifying(value, f"{key}.")
        elif key.endswith("dtype") or not key.startswith(NOT_IDENTIFYING):
            flat[key] = value
    return flat


def identity_of(values: dict[str, Any]) -> str:
    """Hash of identifying values."""
    content = json.dumps(values, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]
