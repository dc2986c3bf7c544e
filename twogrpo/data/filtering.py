"""Filters raw rows into a training prompt set; dropped rows are counted by reason."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from twogrpo.data.images import open_image
from twogrpo.data.problems import Problem, Row, content_id, has_system_message, to_problem
from twogrpo.errors import ConfigError, escape_control_chars

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
# Optional TeX, the marks of a formula, and commas that group digits.
_NOTATION = re.compile(
    r"^[\s$]*[A-Za-z]\s*=|[\s$]|\\[,;:! $]|\\(?=%)|\\(?:left|right|text)(?![A-Za-z])"
    r"|(?<=\d)(?:,|\{,\})(?=\d{3}(?!\d))"
)
_RATIO = re.compile(r"([+-]?)\\frac(\d|\{-?\d+\})(\d|\{\d+\})")
_NUMBER = re.compile(r"[+-]?(?:\d+/0*[1-9]\d*|(?:\d+\.?|\d*\.\d+)(?:[eE][+-]?\d{1,2})?)")


Check = Callable[[str], None]
"""Raises ValueError for an answer that the reward cannot judge by."""


@dataclass(frozen=True)
class FilteredProblems:
    """The problems kept, in row order, and the ids of the dropped ones by reason.

    `num_system_messages` rows have a system message, which is not used; `note` says why the first
    unusable answer is none.
    """

    problems: list[Problem]
    num_rows: int
    dropped: dict[str, list[str]]
    num_system_messages: int = 0
    note: str = ""

    @property
    def counts(self) -> dict[str, int]:
        """Rows dropped by reason."""
        return {reason: len(ids) for reason, ids in self.dropped.items()}

    @property
    def summary(self) -> str:
        """What was read, kept and dropped, on a line; of each reason the first three ids."""
        named = ", ".join(
            f"{len(ids)} {reason} ({', '.join(ids[:3])}{', …' if len(ids) > 3 else ''})"
            for reason, ids in self.dropped.items()
        )
        text = f"{self.num_rows} rows, {len(self.problems)} kept; dropped: {named or 'none'}"
        text += f"; {self.note}" if self.note else ""
        if self.num_system_messages:
            text += f"; {self.num_system_messages} system messages not used: the template's counts"
        return escape_control_chars(text)


def read_problems(rows: Iterable[Row], *, origin: str) -> list[Problem]:
    """Reads rows into problems and drops none; a repeat without an id of its own gets a number.

    Raises:
        ConfigError: two rows share an id, or no row is usable.
    """
    problems, seen = [], Counter[str]()
    for row in rows:
        problem = to_problem(row)
        if problem.problem_id == content_id(problem.text, problem.images):
            seen[problem.problem_id] += 1
            if (number := seen[problem.problem_id]) > 1:
                problem = replace(problem, problem_id=f"{problem.problem_id}-{number}")
        problems.append(problem)
    if all(problem.defect for problem in problems):
        problems = []
    _check_any(problems, origin, why="")
    twice = [i for i, n in Counter(problem.problem_id for problem in problems).items() if n > 1]
    if twice:
        raise ConfigError(f"{origin} has the id {twice[0]} twice: give every row its own")
    return problems


def prepare(
    rows: Iterable[Row], *, origin: str, english_only: bool = False, check: Check | None = None
) -> FilteredProblems:
    """Reads rows into problems and removes those that cannot be trained on.

    The reasons, in this order: a problem's `defect`, see `to_problem`; `not_english` (contains a
    Han character, with `english_only`); `broken_picture` (cannot be opened, or is huge);
    `conflicting_answers` (the same text with different answers: all of them); `repeat` (the same
    text with the same answer: all but the first); `unusable_answer` (`check` refuses it);
    `repeated_id` (all but the first). Texts are the same if they and their images are equal up to
    white space; answers, up to notation (`27` and `27.0`, `\\frac13` and `1/3`).

    Raises:
        ConfigError: no row is left.
    """
    note, dropped = "", defaultdict[str, list[str]](list)
    by_content: dict[str, list[Problem]] = defaultdict(list)
    num_rows = num_system_messages = 0
    for num_rows, row in enumerate(rows, start=1):
        problem = to_problem(row)
        num_system_messages += has_system_message(row)
        if reason := problem.defect or _unusable(problem, english_only=english_only):
            dropped[reason].append(problem.problem_id if problem.text else f"row {num_rows}")
        else:
            by_content[content_id(problem.text, problem.images)].append(problem)
    kept = dict[str, Problem]()
    for first, *others in by_content.values():
        if len({_normal_form(problem.answer) for problem in (first, *others)}) > 1:
            dropped["conflicting_answers"] += [p.problem_id for p in (first, *others)]
            continue
        if others:
            dropped["repeat"] += [problem.problem_id for problem in others]
        try:
            if check:
                check(first.answer)
            if kept.setdefault(first.problem_id, first) is not first:
                dropped["repeated_id"].append(first.problem_id)
        except ValueError as error:
            dropped["unusable_answer"].append(first.problem_id)
            note = note or f"the first unusable answer: {error}"
    found = FilteredProblems([*kept.values()], num_rows, dict(dropped), num_system_messages, note)
    _check_any(found.problems, origin, why=f" ({found.summary})" if num_rows else "")
    return found


def select_problems(problems: Sequence[Problem], count: int, seed: int) -> list[Problem]:
    """Selects `count` problems, independently of their order and ids.

    Problems are sorted by a hash of seed and content instead of drawn by a random generator: copies
    of a data set with another row order, or a few more rows, give (nearly) the same selection.
    """

    def key(problem: Problem) -> str:
        name = f"{seed}/{content_id(problem.text, problem.images)}"
        return hashlib.sha256(name.encode()).hexdigest()

    return sorted(problems, key=key)[:count]


def _unusable(problem: Problem, *, english_only: bool) -> str | None:
    if english_only and _HAN.search(problem.text):
        return "not_english"
    try:
        for image in problem.images:
            open_image(image)
    except ValueError:
        return "broken_picture"
    return None


def _normal_form(answer: str) -> str:
    r"""An answer without what is mere notation; a number is a fraction in its lowest terms.

    >>> {_normal_form(answer) for answer in (r"\dfrac12", r"$\frac{1}{2}$", "2/4", "0.50", ".5")}
    {'1/2'}
    >>> _normal_form(r"\frac{11}{2}") == _normal_form(r"\frac{1}{12}")
    False
    """
    text = re.sub(r"\\[dt]frac", r"\\frac", _NOTATION.sub("", answer))
    if ratio := _RATIO.fullmatch(text):
        text = "{}{}/{}".format(*(part.strip("{}") for part in ratio.groups()))
    if len(text) < 1_000 and _NUMBER.fullmatch(text):
        return str(Fraction(text))
    return re.sub(r"^\{([^{}]*)\}$|\{([^\\{}])\}", r"\1\2", text)  # `x^{2}` is `x^2`


def _check_any(problems: list[Problem], origin: str, *, why: str) -> None:
    if not problems:
        raise ConfigError(
            f"{origin} has no usable row{why}: each needs a problem and an answer, "
            "see twogrpo/data/problems.py"
        )
