"""Finds the final answer in a response: the last box, else the last answer phrase, else the text.

It works on strings alone, in linear time.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

from twogrpo.core.boxes import BOX, boxes

MAX_ANSWER_CHARS = 1_000
"""A longer answer counts as none; the longest gold of the five benchmarks has 159 characters."""
_WINDOW_CHARS = 2_000
"""Only this much of the end of a text without a box is searched, to bound the cost."""

_PHRASE = re.compile(
    r"####"
    r"|<answer>"
    r"|(?im:^[ \t]*(?:#|\*\*|__)[#*_ \t]{0,8}(?:final[ \t]+)?answer[*_ \t]{0,8}$)"
    r"|(?i:(?<![a-z])(?:answers?|(?:correct|right|best)\s+(?:option|choice))(?![a-z])[*_}]{0,4}"
    r"(?:\s+to\s+[^.\n]{1,80}?)?\s*"
    r"(?::|=(?!=)|(?=\$|\\[(\[])|(?:is|are|was|should\s+be|must\s+be|would\s+be|will\s+be)\b(?:\s*:)?))"
    r"|答案\s*[是为為:：]+"
)
_FINAL_AFTER_BOX = re.compile(r"(?i:final\s+answer\s+is)\s*:?\s*(?=\$|\\\(|-?\d)")
_MATH = re.compile(
    r"\$\$(.+?)\$\$|\\\[(.+?)\\\]|\\\((.+?)\\\)|(?<!\\)\$((?:\\\$|[^$])+?)(?<!\\)\$", re.DOTALL
)
_NUMBER = re.compile(
    r"(?<![\w.\\])(?:[-−+])?(?:\d{1,3}(?:,\d{3})+|\d+(?:\s\d{3})*(?!\d))?(?:(?<=\d)[.,]?|\.)\d*"
    r"(?:\s*/\s*\d+(?:\.\d+)?|[eE][-+]?\d+)?\s*(?:\\?%)?"
)
_WRAPPED = re.compile(
    r"\\(?:text\w*|mbox|math\w+|operatorname|left|right)\s*\{[^{}]*\}|\\(?:begin|end)\s*(?:\{[^{}]*\})+"
)
_INTRODUCTION = re.compile(r"\s*[A-Za-z]{2,}(?: [A-Za-z]+)?\s*:?\s*")
_LISTED = re.compile(r"\s*(?:[,;]|,?\s*(?:and|or))?\s*")
_WORD = re.compile(r"(?<![\\A-Za-z])(?!(?:and|or)\b)[A-Za-z]{2,}")
_BETWEEN = re.compile(r"\s*(?:,?\s*(?:and|or)\s|[,;])\s*")
_JOINT = re.compile(
    r"(?:[\s$.,;&\\()/]|(?:maybe|perhaps|possibly)\b|\\q?quad"
    r"|\\text\w*\s*\{\s*,?\s*(?:and|or)?\s*\}|and\b|or\b"
    r"|[A-Za-z](?:_\w|_\{\w+\})?\s*=)*"
)


@dataclass(frozen=True)
class Extracted:
    """The final answer, and the adjacent boxes that it ends, if there are several."""

    text: str
    boxes: tuple[str, ...] = ()
    is_hedge: bool = False
    """Whether "or" or "/" stands between the boxes: then all of them must be right."""


def extract(response: str) -> Extracted | None:
    r"""Returns the final answer of a response; None if it is missing, empty or absurdly long.

    The last ``\boxed{}`` counts. Boxes with only commas, "and" or "or" between them also give
    `boxes`, for references that are lists themselves.

    >>> extract(r"so \boxed{3}, no, \boxed{\frac{1}{2}}.").text
    '\\frac{1}{2}'
    >>> extract("The answer is 42. I hope so.").text
    '42'
    >>> extract(r"\boxed{}") is None
    True
    """
    text = _after_thinking(response)
    found = boxes(text)
    if found:
        late = _last(_FINAL_AFTER_BOX, text, start=found[-1][1])
        if late is not None:
            return _checked(_statement(text[late.end() :]))
        return _checked(found[-1][2], *_adjacent(text, found))
    phrase = _last(_PHRASE, text)
    if phrase is not None:
        return _checked(_statement(text[phrase.end() :]))
    return _checked(_bare(text))


def _after_thinking(response: str) -> str:
    """Returns what follows an R1-style model's reasoning if it holds an answer, else everything."""
    _, tag, after = response.rpartition("</think>")
    return after if tag and (BOX.search(after) or _PHRASE.search(after)) else response


def _last(pattern: re.Pattern[str], text: str, *, start: int = 0) -> re.Match[str] | None:
    match = None
    for match in pattern.finditer(text, start):  # noqa: B007 the last match is the result
        pass
    return match


def _adjacent(text: str, found: list[tuple[int, int, str]]) -> tuple[tuple[str, ...], bool]:
    """Returns the contents of the last boxes that only separators divide, and if they hedge."""
    run = [found[-1]]
    for box in reversed(found[:-1]):
        if box[1] > run[0][0] or not _JOINT.fullmatch(text, box[1], run[0][0]):
            break
        run.insert(0, box)
    is_hedge = any(re.search(r"\bor\b|/", text[a[1] : b[0]]) for a, b in itertools.pairwise(run))
    return tuple(content for _, _, content in run) if len(run) > 1 else (), is_hedge


def _statement(tail: str) -> str:
    """Returns what an answer phrase states: the formula it opens with, else its first sentence."""
    tail = tail[: 2 * _WINDOW_CHARS].lstrip(" \t\n*_:：=}")
    tail = tail.partition("</answer>")[0]
    formula = _MATH.match(tail)
    if formula:
        end = formula.end()
        while (joint := _BETWEEN.match(tail, end)) and (more := _MATH.match(tail, joint.end())):
            end = more.end()
        unit = re.match(r"\s*(?:\\?%|[a-zA-Z ]{1,20}(?=[.\n]|$))", tail[end:])
        return tail[: end + (unit.end() if unit else 0)]
    line = tail.partition("\n")[0]
    sentence = re.split(r"(?<=[^\d\s])[.!](?:\s|$)|(?<=\d)[.!](?:\s|$)|。", line)[0].strip(" *_`")
    return _bare(sentence)


def _bare(text: str) -> str:
    """Returns the last formula or number of a text in prose, any other text unchanged.

    Prose has three or more words outside formulas and LaTeX commands.
    """
    text = text.strip()
    if len(text) > _WINDOW_CHARS:
        text = text[-_WINDOW_CHARS:]
    outside = _MATH.sub(" ", _WRAPPED.sub(" ", text))
    formula = _last(_MATH, text)
    if len(_WORD.findall(outside)) < 3:
        introduced = formula and _INTRODUCTION.fullmatch(text, 0, formula.start())
        return text[formula.start() :] if formula and introduced else text
    number = _last_number(text, formula.end() if formula else 0)
    if number:
        return number
    return formula.group() if formula else text


def _last_number(text: str, start: int) -> str | None:
    """Returns the last number of a text, with the list that it ends ("3, 4 or 5")."""
    matches = [m for m in _NUMBER.finditer(text, start) if any(c.isdigit() for c in m.group())]
    if not matches:
        return None
    first = matches[-1]
    for match in reversed(matches[:-1]):
        if not _LISTED.fullmatch(text, match.end(), first.start()):
            break
        first = match
    return text[first.start() : matches[-1].end()].strip().rstrip(".,")


def _checked(answer: str, boxes: tuple[str, ...] = (), is_hedge: bool = False) -> Extracted | None:
    answer = answer.strip()
    if not answer or len(answer) > MAX_ANSWER_CHARS:
        return None
    return Extracted(answer, boxes, is_hedge)
