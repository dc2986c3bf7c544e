"""Which values make a run what it is, and their hash."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, is_dataclass
from typing import Any

from twogrpo.config.annotations import keys


def identifying(config: Any) -> dict[str, Any]:
    """The values of the keys that identify a run, by dotted key."""
    return flatten({key.name: key.value for key in keys(config) if key.identifies})


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries, and dataclasses in them, as one dictionary by dotted key.

    >>> flatten({"seed": 1, "hardware": {"dtype": "float32"}})
    {'seed': 1, 'hardware.dtype': 'float32'}
    """
    flat = dict[str, Any]()
    for name, value in values.items():
        nested = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        if isinstance(nested, dict):
            flat |= flatten(nested, f"{prefix}{name}.")
        else:
            flat[prefix + name] = nested
    return flat


def identity_of(values: dict[str, Any]) -> str:
    """A hash of identifying values."""
    content = json.dumps(values, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]
