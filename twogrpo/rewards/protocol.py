"""What the loop calls (`Reward`) and what a configuration can name (`Verifier`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol, Self

from twogrpo.errors import ConfigError
from twogrpo.types import Verdict

if TYPE_CHECKING:  # grading processes and scripts/grade.py start without OmegaConf
    from twogrpo.config.schema import RewardConfig as RewardConfig

CORRECT = Verdict(1.0, True, "correct")
WRONG = Verdict(0.0, False, "wrong")
NO_ANSWER = Verdict(0.0, False, "no_answer")
UNPARSED = Verdict(0.0, False, "verifier_unparsed")


class Reward(Protocol):
    """Grades responses; all that the loop and the evaluation need of a reward."""

    @property
    def grades_truncated(self) -> bool:
        """Whether a response that was cut at the token limit is graded; if not, it is wrong."""
        ...

    def grade(self, responses: Sequence[str], references: Sequence[str]) -> list[Verdict]:
        """One verdict per response, in order."""
        ...

    def close(self) -> None:
        """Ends its workers, if any."""
        ...


class Example(NamedTuple):
    """A correct and a wrong response to one reference; preflight grades both."""

    correct: str
    wrong: str
    reference: str


class Verifier(ABC):
    """A `Reward` that a configuration can name: a rule, no learned model.

    A subclass gives `example` and `grade` and overrides what differs from these defaults. It enters
    the table in twogrpo/rewards/build.py.
    """

    example: ClassVar[Example]
    prompt_templates: ClassVar[tuple[str, ...]] = ()
    """The templates that request the form of answer it looks for; empty where any will do."""
    grades_truncated: bool = False
    sandbox_method: str | None = None
    """What isolates the programs it runs, for the record; None where it runs none."""

    @classmethod
    def from_config(cls, config: RewardConfig) -> Self:
        """Raises ConfigError where a key it needs is missing or out of range."""
        return cls()

    @abstractmethod
    def grade(self, responses: Sequence[str], references: Sequence[str]) -> list[Verdict]:
        """One verdict per response, in order; raises ValueError for an unusable reference."""

    @staticmethod  # noqa: B027 a default, not a gap
    def check_reference(reference: str) -> None:
        """Raises ValueError where no response can be judged by this reference."""

    def self_check(self, references: Sequence[str]) -> None:  # noqa: B027 a default
        """Raises ValueError where it recognises too few of a training set's references."""

    def close(self) -> None:  # noqa: B027 a default
        """Ends its workers, if any."""


def checked_num_workers(config: RewardConfig) -> int:
    """The number of workers; raises ConfigError unless it is positive."""
    if config.num_workers is None or config.num_workers < 1:
        raise ConfigError(f"reward.num_workers={config.num_workers}: use 1 or more")
    return config.num_workers
