"""Every sample of an evaluation, kept so that any number can be recomputed.

While an evaluation runs, each problem is a line of `samples.jsonl`, flushed to disk chunk by
chunk. At the end the lines become `samples.parquet`, one row a sample.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from twogrpo.errors import ConfigError
from twogrpo.run_record.files import read_lines, write_atomically
from twogrpo.types import Group


@dataclass(frozen=True)
class ProblemSamples:
    """The n samples of one problem, in the order of their seeds.

    `reasons` are the verifier's ("correct", "wrong", "truncated", "verifier_timeout", …);
    `responses` is None where their texts are not kept.
    """

    benchmark: str
    problem_id: str
    num_tokens: list[int]
    finish_reasons: list[str]
    is_correct: list[bool]
    reasons: list[str]
    seconds: float
    responses: list[str] | None = None

    @classmethod
    def of(cls, benchmark: str, group: Group, *, seconds: float, keep_text: bool) -> ProblemSamples:
        """The samples of a graded group; `seconds` is its share of the chunk's time."""
        return cls(
            benchmark=benchmark,
            problem_id=group.prompt.prompt_id,
            num_tokens=[len(rollout.token_ids) for rollout in group.rollouts],
            finish_reasons=[rollout.finish_reason for rollout in group.rollouts],
            is_correct=[verdict.is_correct for verdict in group.verdicts],
            reasons=[verdict.reason for verdict in group.verdicts],
            seconds=seconds,
            responses=[rollout.text for rollout in group.rollouts] if keep_text else None,
        )


class SampleStore:
    """The samples of one evaluation on disk.

    `key` names everything the samples depend on (weights, prompts, sampling, reward): lines under
    another key are deleted. Of several ranks one writes. With `keep_text`, a problem that was
    sampled without its texts counts as not done.
    """

    def __init__(
        self, folder: Path, key: str, *, is_writer: bool = True, keep_text: bool = False
    ) -> None:
        self.folder = folder
        self.is_writer = is_writer
        self._keep_text = keep_text
        self._key = key
        self._lines = folder / "samples.jsonl"
        self._found = self._read()

    def done(self, benchmark: str) -> dict[str, ProblemSamples]:
        """The samples that an interrupted evaluation finished, by problem."""
        usable = (s for s in self._found if s.responses is not None or not self._keep_text)
        return {s.problem_id: s for s in usable if s.benchmark == benchmark}

    def append(self, samples: Iterable[ProblemSamples]) -> None:
        """Adds a chunk and flushes it to disk."""
        if not self.is_writer:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._lines.open("a", encoding="utf-8") as file:
            if file.tell() == 0:
                file.write(json.dumps({"key": self._key}) + "\n")
            file.writelines(json.dumps(asdict(sample)) + "\n" for sample in samples)
            file.flush()
            os.fsync(file.fileno())

    def finish(self, samples: Sequence[ProblemSamples]) -> None:
        """Replaces the lines by the table of all samples."""
        if not self.is_writer:
            return
        import pyarrow  # not needed by a run that is never evaluated
        import pyarrow.parquet

        self.folder.mkdir(parents=True, exist_ok=True)
        final = self.folder / "samples.parquet"
        temporary = final.with_suffix(".tmp")
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(sample_rows(samples)), temporary)
        temporary.replace(final)
        self._lines.unlink(missing_ok=True)

    def _read(self) -> list[ProblemSamples]:
        """Returns the complete lines under the same key; deletes all others."""
        lines = read_lines(self._lines)  # without the last, if it is torn
        if lines[:1] != [{"key": self._key}]:
            if self.is_writer:
                self._lines.unlink(missing_ok=True)
            return []
        if self.is_writer:
            write_atomically(self._lines, "".join(json.dumps(line) + "\n" for line in lines))
        try:
            return [ProblemSamples(**line) for line in lines[1:]]
        except TypeError as error:
            raise ConfigError(
                f"{self._lines} has a line that is no problem's: delete it, to sample them again"
            ) from error


def sample_rows(samples: Iterable[ProblemSamples]) -> list[dict[str, Any]]:
    """One row for each sample, all with the same keys; `response` only if any text was kept."""
    samples = list(samples)
    is_text_kept = any(problem.responses is not None for problem in samples)
    return [
        {
            "benchmark": problem.benchmark,
            "problem_id": problem.problem_id,
            "sample": index,
            "num_tokens": num_tokens,
            "finish_reason": problem.finish_reasons[index],
            "is_correct": problem.is_correct[index],
            "reason": problem.reasons[index],
        }
        | ({"response": problem.responses and problem.responses[index]} if is_text_kept else {})
        for problem in samples
        for index, num_tokens in enumerate(problem.num_tokens)
    ]
