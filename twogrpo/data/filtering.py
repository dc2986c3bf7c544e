"""Filters raw rows into a training prompt set; dropped rows are counted by reason."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from twogrpo.data.images import open_image
from twogrpo.data.problems import Problem, Row, content_id, to_problem
from twogrpo.errors import ConfigError

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
# Longer than any real answer; a program's test cases count as its answer.
MAX_ANSWER_CHARACTERS = 10_000_000


@dataclass(frozen=True)
class FilteredProblems:
    """The problems kept, in row order, and the ids of the dropped ones by reason."""

    problems: list[Problem]
    num_rows: int
    dropped: dict[str, list[str]]

    @property
    def counts(self) -> dict[str, int]:
        """Rows dropped by reason."""
        return {reason: len(ids) for reason, ids in self.dropped.items()}


def read_problems(rows: Iterable[Row], *, origin: str) -> list[Problem]:
    """Reads rows into problems and drops none.

    Raises:
        ConfigError: a row has another schema, two rows share an id, or there is no row.
    """
    return _checked(_read(rows, origin), origin)


def prepare(rows: Iterable[Row], *, origin: str, english_only: bool = False) -> FilteredProblems:
    """Reads rows into problems and removes those that cannot be trained on.

    The reasons, in this order: `no_question`, `no_answer` (empty); `not_english` (contains a Han
    character, with `english_only`); `broken_picture` (cannot be opened, or is huge);
    `conflicting_answers` (the same text with different answers: all of them); `repeat` (the same
    text with the same answer: all but the first). Texts are the same if they and their images are
    equal up to white space; answers, up to white space and braces.

    Raises:
        ConfigError: a row has another schema, two rows share an id, or no row is left.
    """
    problems = _read(rows, origin)
    dropped: dict[str, list[str]] = defaultdict(list)
    by_content: dict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        if reason := _unusable(problem, english_only=english_only):
            dropped[reason].append(problem.problem_id)
        else:
            by_content[content_id(problem.text, problem.images)].append(problem)
    kept = []
    for first, *others in by_content.values():
        # Without optional TeX: `\frac{1}{3}` and `\frac13` are one answer.
        if len({re.sub(r"[\s{}$]", "", problem.answer) for problem in (first, *others)}) > 1:
            dropped["conflicting_answers"] += [p.problem_id for p in (first, *others)]
        else:
            kept.append(first)
            if others:
                dropped["repeat"] += [problem.problem_id for problem in others]
    return FilteredProblems(_checked(kept, origin), len(problems), dict(dropped))


def select_problems(problems: Sequence[Problem], count: int, seed: int) -> list[Problem]:
    """Selects `count` problems, independently of their order and ids.

    Problems are sorted by a hash of seed and content instead of drawn by a random generator: copies
    of a data set with another row order, or a few more rows, give (nearly) the same selection.
    """

    def key(problem: Problem) -> str:
        name = f"{seed}/{content_id(problem.text, problem.images)}"
        return hashlib.sha256(name.encode()).hexdigest()

    return sorted(problems, key=key)[:count]


def _read(rows: Iterable[Row], origin: str) -> list[Problem]:
    problems = []
    for number, row in enumerate(rows, start=1):
        try:
            problems.append(to_problem(row))
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise ConfigError(
                f"{origin} row {number} has another schema ({error}): "
                "each row needs a problem and an answer, see twogrpo/data/problems.py"
            ) from error
    return problems


def _unusable(problem: Problem, *, english_only: bool) -> str | None:
    if not problem.text:
        return "no_question"
    if not problem.answer or len(problem.answer) > MAX_ANSWER_CHARACTERS:
        return "no_answer"
    if english_only and _HAN.search(problem.text):
        return "not_english"
    try:
        for image in problem.images:
            open_image(image)
    except ValueError:
        return "broken_picture"
    return None


def _checked(problems: list[Problem], origin: str) -> list[Problem]:
    if not problems:
        raise ConfigError(f"{origin} has no usable row: give a file with problems and answers")
    twice = [i for i, n in Counter(problem.problem_id for problem in problems).items() if n > 1]
    if twice:
        raise ConfigError(f"{origin} has the id {twice[0]} twice: give every row its own")
    return problems
