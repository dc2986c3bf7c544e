"""Contamination: benchmark problems that appear in a training set, verbatim or nearly so."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from twogrpo.data.problems import Problem
from twogrpo.errors import ConfigError

NGRAM_WORDS = 13  # as in the GPT-3 paper's analysis (Brown et al. 2020, 2005.14165, appendix C)

# Commands that change a formula's appearance, not its meaning.
_LAYOUT = re.compile(
    r"\\(?:left|right|displaystyle|textstyle|limits|quad|qquad|mathrm|mathbf|mathit|text|textbf"
    r"|textit|emph|rm|operatorname)(?![a-z])|\\[,;!: ()\[\]]"
)


@dataclass(frozen=True)
class Overlap:
    """One benchmark's overlap with a training set: benchmark ids with the matching training ids.

    `equal` texts differ only in white space, layout and punctuation; `similar` texts share a run
    of 13 words without being equal. Rewordings are in neither.
    """

    num_problems: int
    equal: dict[str, list[str]]
    similar: dict[str, list[str]]


def overlap(training: Sequence[Problem], benchmark: Sequence[Problem]) -> Overlap:
    """Finds the benchmark problems that the training set contains."""
    by_text: dict[str, list[str]] = defaultdict(list)
    by_ngram: dict[str, list[str]] = defaultdict(list)
    benchmark_ngrams = {ngram for problem in benchmark for ngram in ngrams(problem.text)}
    for problem in training:
        by_text[normal_form(problem.text)].append(problem.problem_id)
        for ngram in ngrams(problem.text) & benchmark_ngrams:
            by_ngram[ngram].append(problem.problem_id)
    equal, similar = {}, {}
    for problem in benchmark:
        near = {i for ngram in ngrams(problem.text) for i in by_ngram.get(ngram, ())}
        if found := by_text.get(normal_form(problem.text)):
            equal[problem.problem_id] = found
        elif near:
            similar[problem.problem_id] = sorted(near)
    return Overlap(len(benchmark), equal, similar)


def normal_form(text: str) -> str:
    r"""The lower-case text without white space, layout commands, braces, dollars, punctuation.

    Signs are kept: `z^4+z^2+1` and `z^4-z^2+1` are different problems.

    >>> normal_form(r"Find $\left(\dfrac{1}{2}\right)^2$.")
    'find(frac12)^2'
    """
    text = re.sub(r"\\[dt]frac", r"\\frac", _LAYOUT.sub("", text.lower()))
    return re.sub(r"[^a-z0-9+\-*/^=<>()!|]+", "", text)


def ngrams(text: str) -> set[str]:
    """Every run of 13 words (letters or a number); empty for a shorter text."""
    words = re.findall(r"[a-z]+|[0-9]+", _LAYOUT.sub(" ", text.lower()))
    starts = range(len(words) - NGRAM_WORDS + 1)
    return {" ".join(words[start : start + NGRAM_WORDS]) for start in starts}


def load_overlap(folder: Path) -> dict[str, list[str]] | None:
    """The ids that a prepared prompt set contains verbatim, by benchmark; None if not recorded.

    Raises:
        ConfigError: the record is damaged.
    """
    file = folder / "contamination.json"
    if not os.path.isfile(file):
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return {name: sorted(found["equal"]) for name, found in content.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"{file} is damaged ({error}): prepare the data again") from error


def report(overlaps: Mapping[str, Overlap]) -> str:
    """A printable table of the overlaps."""
    width = max(len(name) for name in overlaps)
    lines = [f"{'benchmark':<{width}}  problems  equal  13 words shared"]
    for name, found in overlaps.items():
        counts = f"{found.num_problems:>8}  {len(found.equal):>5}  {len(found.similar):>15}"
        lines.append(f"{name:<{width}}  {counts}")
    return "\n".join(lines)
