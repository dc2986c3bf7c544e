"""What the annotation of a configuration key says besides its type.

`group_size: Annotated[int, Bounded(at_least=2)]`: `check_keys` checks the bounds.
`output_dir: Annotated[str, NOT_IDENTIFYING]`: the key is no part of a run's identity.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, is_dataclass
from enum import Enum, auto
from typing import Any, get_type_hints

from twogrpo.errors import ConfigError, escape_control_chars


@dataclass(frozen=True)
class Bounded:
    """A finite number within bounds, each included (`at_…`) or not.

    `why` follows the key and its value in the message: "rollout.temperature=0 draws the same".
    """

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    why: str = "is out of range"

    def check(self, key: str, value: float) -> None:
        """Raises ConfigError if the value is out of bounds, NaN or infinite."""
        if not (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
            and math.isfinite(value)  # last: it raises for an int beyond every bound
        ):
            raise ConfigError(f"{key}={value} {self.why}: use {self._range()}")

    def _range(self) -> str:
        if self.at_most is None and self.below is None:
            if self.above is None:
                return f"{self.at_least:g} or more"
            return f"a finite value above {self.above:g}"
        low = f"[{self.at_least:g}" if self.at_least is not None else f"({self.above:g}"
        high = f"{self.at_most:.15g}]" if self.at_most is not None else f"{self.below:g})"
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


@dataclass(frozen=True)
class Text:
    """A text of this form."""

    pattern: str
    remedy: str

    def check(self, key: str, value: object) -> None:
        """Raises ConfigError if the value has another form."""
        if not (isinstance(value, str) and re.fullmatch(self.pattern, value)):
            raise ConfigError(f"{key}={value} is no name: use {self.remedy}")


class Mark(Enum):
    """A property of a key, or of all keys of a section that are not marked themselves.

    A key without a mark identifies a run.
    """

    IDENTIFYING = auto()
    NOT_IDENTIFYING = auto()
    TAKES_MEMORY = auto()  # a lower value lowers the memory that a run needs


IDENTIFYING, NOT_IDENTIFYING, TAKES_MEMORY = Mark
POSITIVE = Bounded(above=0)
NOT_NEGATIVE = Bounded(at_least=0, at_most=2**63 - 1)
# What no run needs more of; beyond it a mistyped value would take hours or all memory.
COUNT = Bounded(at_least=1, at_most=10**6)
TOKENS = Bounded(at_least=1, at_most=10**9)
NAMED = Text(r".*\S.*", "at least one visible character")
FILE_NAME = Text(r"\w[\w.+-]*", "letters, digits, ., +, - and _")


@dataclass(frozen=True)
class Key:
    """A key of a configuration object: its dotted name, its value and its annotation."""

    name: str
    value: Any
    rules: tuple[Bounded | OneOf | Text, ...]
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
            rules = tuple(rule for rule in annotation if isinstance(rule, Bounded | OneOf | Text))
            yield Key(key, value, rules, counts)


def check_keys(config: Any, section: str = "") -> None:
    """Checks each key against its annotation; null is allowed where the type allows it.

    Raises:
        ConfigError: a value is out of bounds, or has characters that a terminal obeys.
    """
    for key in keys(config, section):
        for place, value in enumerate(key.value if isinstance(key.value, list) else [key.value]):
            if is_dataclass(value):
                check_keys(value, f"{key.name}[{place}].")
                continue
            if isinstance(value, str) and value != escape_control_chars(value):
                raise ConfigError(f"{key.name}={value} has control characters: use plain UTF-8")
            for rule in key.rules if value is not None else ():
                rule.check(key.name, value)


def annotations_of(schema: type) -> dict[str, tuple[Any, ...]]:
    """The annotation of each field of a schema, without its type."""
    hints = get_type_hints(schema, include_extras=True)
    return {name: getattr(hint, "__metadata__", ()) for name, hint in hints.items()}
