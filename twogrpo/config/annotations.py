"""What the annotation of a configuration key says besides its type.

`group_size: Annotated[int, Bounded(at_least=2)]`: twogrpo/config/validation.py checks the bounds.
`output_dir: Annotated[str, NOT_IDENTIFYING]`: the key is no part of a run's identity.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, is_dataclass
from enum import Enum, auto
from typing import Any, get_type_hints

from twogrpo.errors import ConfigError


@dataclass(frozen=True)
class Bounded:
    """A finite number within bounds, each included (`at_…`) or not.

    `why` follows the key and its value in the message: "algorithm.group_size=1 has no baseline".
    """

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    why: str = "is out of range"

    def check(self, key: str, value: float) -> None:
        """Raises ConfigError if the value is out of bounds, NaN or infinite."""
        if not (
            math.isfinite(value)
            and (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        ):
            raise ConfigError(f"{key}={value} {self.why}: use {self._range()}")

    def _range(self) -> str:
        if self.at_most is None and self.below is None:
            if self.above is None:
                return f"{self.at_least:g} or more"
            return f"a finite value above {self.above:g}"
        low = f"[{self.at_least:g}" if self.at_least is not None else f"({self.above:g}"
        high = f"{self.at_most:g}]" if self.at_most is not None else f"{self.below:g})"
        return f"a value in {low}, {high}"


@dataclass(frozen=True)
class OneOf:
    """One of a few values."""

    choices: tuple[object, ...]

    def check(self, key: str, value: object) -> None:
        """Raises ConfigError if the value is none of them."""
        if value not in self.choices:
            raise ConfigError(
                f"{key}={value} is unknown: use one of {', '.join(map(str, self.choices))}"
            )


class Mark(Enum):
    """A property of a key, or of all keys of a section that are not marked themselves.

    A key without a mark identifies a run.
    """

    IDENTIFYING = auto()
    NOT_IDENTIFYING = auto()
    TAKES_MEMORY = auto()  # a lower value lowers the memory that a run needs


IDENTIFYING, NOT_IDENTIFYING, TAKES_MEMORY = Mark
POSITIVE = Bounded(above=0)
NOT_NEGATIVE = Bounded(at_least=0)
AT_LEAST_ONE = Bounded(at_least=1)


@dataclass(frozen=True)
class Key:
    """A key of a configuration object: its dotted name, its value and its annotation."""

    name: str
    value: Any
    rules: tuple[Bounded | OneOf, ...]
    identifies: bool


def keys(config: Any, section: str = "", *, identifies: bool = True) -> Iterator[Key]:
    """All keys of a configuration object, depth first.

    A dictionary is one key: its own keys are data.
    """
    for name, annotation in annotations_of(type(config)).items():
        value, key = getattr(config, name), f"{section}{name}"
        counts = IDENTIFYING in annotation or (identifies and NOT_IDENTIFYING not in annotation)
        if is_dataclass(value):
            yield from keys(value, f"{key}.", identifies=counts)
        else:
            rules = tuple(rule for rule in annotation if isinstance(rule, Bounded | OneOf))
            yield Key(key, value, rules, counts)


def annotations_of(schema: type) -> dict[str, tuple[Any, ...]]:
    """The annotation of each field of a schema, without its type."""
    hints = get_type_hints(schema, include_extras=True)
    return {name: getattr(hint, "__metadata__", ()) for name, hint in hints.items()}
