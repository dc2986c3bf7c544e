"""Which values make a run what it is, and their hash."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, is_dataclass
from typing import Any

from twogrpo.config.annotations import keys


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


class Identified:
    """A configuration of a run: two runs with the same identity and the same code are the same."""

    def identity(self) -> str:
        """A hash of every value that can change a number beyond rounding."""
        content = json.dumps(self.identifying(), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def identifying(self) -> dict[str, Any]:
        """The values in the hash, by dotted key."""
        return flatten({key.name: key.value for key in keys(self) if key.identifies})
