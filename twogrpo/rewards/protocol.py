"""What the loop asks of a reward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from twogrpo.records import Verdict


class Reward(Protocol):
    """Judges responses. `grades_truncated` says whether a response that was cut is judged at all."""

    grades_truncated: bool

    def grade(self, responses: Sequence[str], references: Sequence[str]) -> list[Verdict]: ...

    def close(self) -> None: ...
