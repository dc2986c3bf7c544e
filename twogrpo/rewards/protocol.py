"""What the loop asks of a reward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from twogrpo.types import Verdict


class Reward(Protocol):
    """Judges responses."""

    @property
    def grades_truncated(self) -> bool:
        """Whether a response that was cut is judged at all."""
        ...

    def grade(self, responses: Sequence[str], references: Sequence[str]) -> list[Verdict]:
        """The verdicts, in order."""
        ...

    def close(self) -> None:
        """Ends its workers, if any."""
        ...
