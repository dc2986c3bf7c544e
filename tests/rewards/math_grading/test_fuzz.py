"""The answer parser on 100,000 random strings: it parses or raises ParseError, in time."""

import contextlib
import random
import time

import pytest

from twogrpo.rewards.math_grading.answer_parser import read
from twogrpo.rewards.math_grading.extraction import MAX_ANSWER_CHARS, extract
from twogrpo.rewards.math_grading.judge import quick_verdict
from twogrpo.rewards.math_grading.lexer import ParseError
from twogrpo.rewards.math_grading.normalisation import clean

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(600)]

NUM_STRINGS = 100_000
PIECES = r"""
\frac{ \dfrac12 \sqrt{ \sqrt[3]{ } { ( ) [ ] , ; = < > | ^ _ ! % $ $$ \$ \( \] \{ \} \left \right
\pm \cup \in \le \text{ \mathrm{ \begin{pmatrix} \end{pmatrix} & \\ \pi \infty ^\circ
\boxed{ <answer> #### answer: x y 1 23 4.5 1,234 1e9 -7 i e sin log and or cm hours \approx
\overline{ : ' é ² √ − 答案是 A. (B) None true 1/2 \pmod{ **
"""
FRAGMENTS = [*PIECES.split(), " ", "\n", "\x0c", "\x00", "\ud800"]
GOLDS = ("5", "\\frac{1}{2}", "(1, 2]", "x^2 + 1", "\\text{(C)}", "3, 4", "12:30")
# Answers are a few characters long: one that takes a second is close to a hang.
LIMIT_SECONDS = 1.0


def draw(rng: random.Random) -> str:
    """Draws pieces of LaTeX, characters of any plane or one repeated piece; in a box or not."""
    kind = rng.random()
    if kind < 0.7:
        text = "".join(rng.choices(FRAGMENTS, k=rng.randrange(14)))
    elif kind < 0.95:
        planes = (128, 0x3000, 0x110000)
        text = "".join(chr(rng.randrange(rng.choice(planes))) for _ in range(9))
    else:
        text = rng.choice(FRAGMENTS) * rng.randrange(300)
    return f"\\boxed{{{text}}}" if rng.random() < 0.5 else text


def test_no_string_makes_the_parser_raise_or_hang():
    rng = random.Random(8)
    num_read = num_extracted = 0
    for _ in range(NUM_STRINGS):
        text = draw(rng)
        start = time.process_time()
        found = extract(text)
        quick_verdict(rng.choice(GOLDS), text)
        if found is not None:
            num_extracted += 1
            assert 0 < len(found.text) <= MAX_ANSWER_CHARS
            with contextlib.suppress(ParseError, RecursionError):  # counted by the caller
                read(clean(found.text))
                num_read += 1
        assert time.process_time() - start < LIMIT_SECONDS, repr(text)
    # Enough strings are good ones, so that all of the parser is reached.
    assert num_extracted > NUM_STRINGS / 3
    assert num_read > NUM_STRINGS / 20
