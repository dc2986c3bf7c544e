r"""Whether a response gives the reference answer: extraction, reading, comparison, in one process.

Pure but not bounded in time: the last resort, math-verify, can hang on hostile input. Training and
evaluation call it through `twogrpo.rewards.worker_pool`, where a process can be killed.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

from twogrpo.rewards.math_grading import extraction
from twogrpo.rewards.math_grading.answer_parser import read, thousands_joined
from twogrpo.rewards.math_grading.answer_types import Answer, Listing
from twogrpo.rewards.math_grading.lexer import Unreadable
from twogrpo.rewards.math_grading.normalisation import clean
from twogrpo.rewards.math_grading.numerals import number_of


@dataclass(frozen=True)
class Judgement:
    """Whether an answer is right, and why: correct, wrong, no_answer or verifier_unparsed."""

    equal: bool
    reason: str


CORRECT = Judgement(True, "correct")
WRONG = Judgement(False, "wrong")
NO_ANSWER = Judgement(False, "no_answer")
UNPARSED = Judgement(False, "verifier_unparsed")

_CHOICE = re.compile(r"\(?([A-Ja-j])\)?\s*[.:)]?")
_LABELLED_CHOICE = re.compile(r"\(?([A-J])[).:]+\s+\S.*", re.DOTALL)
_BRACKETED_PAIR = re.compile(r"\\?[(\[{][^,;]*,\S[^,;]*[)\]}]")
_DECIMAL_COMMA = re.compile(r"-?\s*\d+,(?:\d{1,2}|\d{4,})|-?\s*0,\d+")


def judge(reference: str, response: str, *, literal: bool = True) -> Judgement:
    r"""Judges a bare answer or a whole response against a reference (bare, boxed or a solution).

    Without `literal` equality to the letter is no proof (for self-checks).

    >>> judge(r"\frac{1}{2}", r"... so it is \boxed{0.5}.")
    Judgement(equal=True, reason='correct')
    >>> judge("2", "12").reason
    'wrong'
    """
    quick = quick_judgement(reference, response) if literal else None
    if quick is not None:
        return quick
    expected = extraction.extract(reference)
    given = extraction.extract(response)
    if expected is None or given is None:
        return NO_ANSWER
    wanted = expected.joined or expected.text
    judgement = same_answer(wanted, given.text, literal=literal)
    if not judgement.equal and given.joined and _is_list(wanted):
        joined = same_answer(wanted, given.joined)
        return joined if joined.equal else judgement
    return judgement


def quick_judgement(reference: str, response: str) -> Judgement | None:
    """The verdict where none of the heavier machinery is needed, else None.

    Decides missing answers, answers that are the reference to the letter, and plain numbers.
    """
    given = extraction.extract(response)
    if given is None:
        return NO_ANSWER
    wanted, text = reference.strip().strip("$"), given.text.strip().strip("$")
    if wanted == text and len(text) <= extraction.MAX_ANSWER_CHARS and "oxed" not in wanted:
        return CORRECT
    mine = number_of(thousands_joined(wanted))
    theirs = number_of(thousands_joined(text)) if mine is not None else None
    if mine is None or theirs is None or "," in wanted + text:
        return None
    if mine == theirs:
        return CORRECT
    return WRONG if not {".", "e", "E"} & set(wanted + text) else None


def same_answer(reference: str, answer: str, *, literal: bool = True) -> Judgement:
    """Judges two extracted answers."""
    wanted, given = clean(reference), clean(answer)
    if not given or not wanted:
        return NO_ANSWER
    if literal and _letters(wanted) == _letters(given):
        return CORRECT
    if (choice := _same_choice(wanted, given)) is not None:
        return CORRECT if choice else WRONG
    return _same_readings(wanted, given)


def _same_readings(wanted: str, given: str) -> Judgement:
    from twogrpo.rewards.math_grading.equivalence import same  # mpmath: only where it is needed

    mine, theirs = _readings(wanted, given), _readings(given, wanted)
    if not mine or not theirs:
        return _math_verify(wanted, given, readable=bool(theirs))
    try:
        equal = any(same(one, other) for one, other in itertools.product(mine, theirs))
    except (RecursionError, MemoryError):
        return UNPARSED
    return CORRECT if equal else WRONG


def _readings(text: str, other: str) -> list[Answer]:
    """What a text may mean; a comma between digits may group thousands, part items or decimals."""
    spellings = [text]
    if not _BRACKETED_PAIR.fullmatch(text):
        spellings.insert(0, thousands_joined(text))
    if _DECIMAL_COMMA.fullmatch(text) and "." in other:
        spellings.insert(0, text.replace(",", "."))
    if "mod" in text and "mod" not in other:
        spellings = [re.sub(r"\s*\(?\\pmod.*$", "", text)]
    answers: list[Answer] = []
    for spelling in dict.fromkeys(spellings):
        try:
            answers.append(read(spelling))
        except (Unreadable, RecursionError):
            continue
    return answers


def _is_list(text: str) -> bool:
    answers = _readings(clean(text), "")
    return any(isinstance(a, Listing) and a.brackets in ("", "{}") for a in answers)


def _letters(text: str) -> str:
    """A cleaned answer without the spaces and the text wrapping that carry no meaning."""
    text = re.sub(r"\\text\s*\{([^{}]*)\}", r" \1 ", text)
    return re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", text.strip())


def _same_choice(wanted: str, given: str) -> bool | None:
    """Compares letters of multiple choice: "C", "(C)", "c.", "(C) 12"; None if it is not one."""
    wanted, given = (re.sub(r"\\text|[{}]", "", text).strip() for text in (wanted, given))
    letter = _CHOICE.fullmatch(wanted) or _LABELLED_CHOICE.fullmatch(wanted)
    if not letter:
        return None
    choice = _CHOICE.fullmatch(given) or _LABELLED_CHOICE.fullmatch(given)
    return choice[1].upper() == letter[1].upper() if choice else None


def _math_verify(wanted: str, given: str, *, readable: bool) -> Judgement:
    """Asks math-verify about notation beyond our reader: integrals, sums, products of matrices.

    Nothing else goes there: of text it makes products of letters, and it overlooks subscripts.
    """
    if not _BEYOND.search(wanted + given) or _NOT_MATHEMATICS.search(wanted + given):
        return WRONG if readable else UNPARSED
    import math_verify.grader
    from math_verify.parser import parse_latex_cached

    math_verify.grader.TIMEOUT_WARNING_SHOWN = True  # the time is the worker pool's to watch
    try:
        mine, theirs = parse_latex_cached(wanted), parse_latex_cached(given)
        equal = math_verify.verify(mine, theirs, timeout_seconds=None)
    except Exception:  # noqa: BLE001 the parser raises whatever its grammar stumbles over
        return WRONG if readable else UNPARSED
    return CORRECT if equal else WRONG


_BEYOND = re.compile(
    r"\\(?:i*int|oint|sum|prod|lim|det|begin|cap|setminus|pmod|bmod|operatorname|partial)"
    r"(?![A-Za-z])"
)
_NOT_MATHEMATICS = re.compile(r"\\text|\.\.\.|\\dots")
