"""The mathematics grader as scripts and rewards use it: quick cases here, the rest in workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from twogrpo.rewards.math_grading.judge import Judgement, quick_judgement
from twogrpo.rewards.worker_pool import Task, WorkerPool

DEADLINE_SECONDS = 5.0


@dataclass(frozen=True)
class SelfCheck:
    """Gold answers graded against themselves: how many pass, and which do not."""

    num_checked: int
    failed: tuple[str, ...]

    @property
    def passed_fraction(self) -> float:
        """Share of the golds that the grader recognises; 1 if there are none."""
        return 1.0 - len(self.failed) / self.num_checked if self.num_checked else 1.0


class Grader:
    """Judges responses against references.

    Identical pairs of one call are judged once. Not bound to torch, so that a command line starts
    in a tenth of a second.
    """

    def __init__(self, *, num_workers: int = 2, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self._pool = WorkerPool(num_workers=num_workers, deadline_seconds=deadline_seconds)

    def judge(self, responses: Sequence[str], references: Sequence[str]) -> list[Judgement]:
        """One judgement a response, in order."""
        if len(responses) != len(references):
            raise ValueError(
                f"{len(responses)} responses but {len(references)} references: give one for each"
            )
        pairs = list(zip(references, responses, strict=True))
        judged = {pair: quick_judgement(*pair) for pair in dict.fromkeys(pairs)}
        hard = [pair for pair, judgement in judged.items() if judgement is None]
        tasks: list[Task] = [(reference, response, True) for reference, response in hard]
        judged.update(zip(hard, self._pool.run(tasks), strict=True))
        return [judgement for pair in pairs if (judgement := judged[pair]) is not None]

    def self_check(self, references: Sequence[str]) -> SelfCheck:
        r"""Grades each gold answer, put into a ``\boxed{}``, against itself.

        Equality to the letter does not count here: a gold passes if it can be read and compared,
        so that another spelling of it has a chance.
        """
        tasks: list[Task] = [(gold, f"\\boxed{{{gold}}}", False) for gold in references]
        judgements = self._pool.run(tasks)
        failed = [g for g, judged in zip(references, judgements, strict=True) if not judged.equal]
        return SelfCheck(len(references), tuple(failed))

    def close(self) -> None:
        """Ends the worker processes."""
        self._pool.close()
