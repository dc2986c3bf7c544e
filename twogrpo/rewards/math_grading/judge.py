r"""Judges whether a response gives the reference answer: extraction, parsing, comparison.

A pure function. Training and evaluation call it through `twogrpo.rewards.worker_pool`, where an
answer that takes too long costs a process and not the run.
"""

from __future__ import annotations

import itertools
import re

from twogrpo.rewards.math_grading import extraction
from twogrpo.rewards.math_grading.answer_parser import read, thousands_joined
from twogrpo.rewards.math_grading.answer_types import Answer, Listing
from twogrpo.rewards.math_grading.lexer import ParseError, number_of
from twogrpo.rewards.math_grading.normalisation import clean
from twogrpo.rewards.math_grading.qualifiers import aligned
from twogrpo.rewards.protocol import CORRECT, NO_ANSWER, UNPARSED, WRONG
from twogrpo.types import Verdict

_CHOICE = re.compile(r"(?:(?i:option|choice|answer)\s+)?\(?([A-Ja-j])\)?\s*[.:)]?")
_LABELLED_CHOICE = re.compile(  # "(C) 12" or "C - twelve", but neither "(A) or (B)" nor "C - x"
    r"\(?([A-J])(?:[).:]+\s+(?!(?:and|or|is|isn't|are|was|not)\b)|\s+-+\s+(?=[a-z]{3}))"
    r"(?!.*(?<![A-Za-z])[A-J](?![A-Za-z]))\S.*",
    re.DOTALL,
)
_BRACKETED_PAIR = re.compile(r"\\?[(\[{][^,;]*,\S[^,;]*[)\]}]")
_DECIMAL_COMMA = re.compile(r"-?\s*\d+,(?:\d{1,2}|\d{4,})|-?\s*0,\d+")


def judge(reference: str, response: str, *, literal: bool = True) -> Verdict:
    r"""Judges a bare answer or a whole response against a reference (bare, boxed or a solution).

    Without `literal`, identical texts must still be parsed and compared (for self-checks).

    >>> judge(r"\frac{1}{2}", r"... so it is \boxed{0.5}.")
    Verdict(reward=1.0, is_correct=True, reason='correct')
    >>> judge("2", "12").reason
    'wrong'
    """
    quick = quick_verdict(reference, response) if literal else None
    if quick is not None:
        return quick
    expected = extraction.extract(reference)
    given = extraction.extract(response)
    if expected is None or given is None:
        return NO_ANSWER
    wanted = ", ".join(expected.boxes) or expected.text
    texts = given.boxes if given.is_hedge else (given.text,)
    verdicts = [same_answer(wanted, text, literal=literal) for text in texts]
    verdict = next((one for one in verdicts if not one.is_correct), CORRECT)
    joined = ", ".join(given.boxes)
    if verdict.is_correct or not 0 < len(joined) <= extraction.MAX_ANSWER_CHARS:
        return verdict
    return CORRECT if _is_list(wanted) and same_answer(wanted, joined).is_correct else verdict


def quick_verdict(reference: str, response: str) -> Verdict | None:
    """Returns the verdict where no parser is needed, else None.

    It decides missing answers, answers identical to the reference and plain numbers.
    """
    given = extraction.extract(response)
    if given is None:
        return NO_ANSWER
    if given.is_hedge:
        return None
    wanted, text = reference.strip().strip("$"), given.text.strip().strip("$")
    if wanted == text and len(text) <= extraction.MAX_ANSWER_CHARS and "boxed" not in wanted:
        return CORRECT
    mine = number_of(thousands_joined(wanted))
    theirs = number_of(thousands_joined(text)) if mine is not None else None
    if mine is None or theirs is None or "," in wanted + text:
        return None
    if mine == theirs:
        return CORRECT
    return WRONG if not {".", "e", "E"} & set(wanted + text) else None


def same_answer(reference: str, answer: str, *, literal: bool = True) -> Verdict:
    """Judges two extracted answers."""
    wanted, given = clean(reference), clean(answer)
    if not given or not wanted:
        return NO_ANSWER
    if literal and _letters(wanted) == _letters(given):
        return CORRECT
    if (choice := _same_choice(wanted, given)) is not None:
        return CORRECT if choice else WRONG
    texts = aligned(wanted, given)
    return _same_readings(*texts) if texts else WRONG


def _same_readings(wanted: str, given: str) -> Verdict:
    # They import mpmath, which most pairs need not wait for.
    from twogrpo.rewards.math_grading.equivalence import same
    from twogrpo.rewards.math_grading.expression_values import Lost

    mine, theirs = _readings(wanted, given), _readings(given, wanted)
    if not mine or not theirs:
        return WRONG if theirs else UNPARSED
    try:
        equal = any(same(one, other) for one, other in itertools.product(mine, theirs))
    except (RecursionError, MemoryError, Lost):
        return UNPARSED
    return CORRECT if equal else WRONG


def _readings(text: str, other: str) -> list[Answer]:
    """Parses a text in every way a comma between digits allows: thousands, items, decimals."""
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
        except (ParseError, RecursionError):
            continue
    return answers


def _is_list(text: str) -> bool:
    answers = _readings(clean(text), "")
    return any(isinstance(a, Listing) and a.brackets in ("", "{}") for a in answers)


def _letters(text: str) -> str:
    """Removes the spaces and the text wrapping of a cleaned answer that carry no meaning."""
    text = re.sub(r"\\text\s*\{([^{}]*)\}", r" \1 ", text)
    return re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", text.strip())


def _same_choice(wanted: str, given: str) -> bool | None:
    """Compares letters of multiple choice: "C", "(C)", "c.", "(C) 12"; None if there is none."""
    wanted, given = (re.sub(r"\\text|[{}]", "", text).strip() for text in (wanted, given))
    letter = _CHOICE.fullmatch(wanted) or _LABELLED_CHOICE.fullmatch(wanted)
    if not letter:
        return None
    choice = _CHOICE.fullmatch(given) or _LABELLED_CHOICE.fullmatch(given)
    return choice[1].upper() == letter[1].upper() if choice else None
