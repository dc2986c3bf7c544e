"""The judge against a corpus written for it: corpus.tsv has "+" or "-", the gold and the answer."""

import random
import re
import string
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from twogrpo.rewards.math_grading.judge import Judgement, judge, quick_judgement

LINES = Path(__file__).with_name("corpus.tsv").read_text(encoding="utf-8").split("\n")
PAIRS = [line.split("\t") for line in LINES if line and not line.startswith("#")]


@pytest.mark.parametrize(("sign", "gold", "answer"), PAIRS, ids=["|".join(p) for p in PAIRS])
def test_corpus(sign: str, gold: str, answer: str) -> None:
    assert judge(gold, answer).equal == (sign == "+")


def test_the_corpus_is_large_and_balanced() -> None:
    wrong = sum(sign == "-" for sign, _, _ in PAIRS)
    assert len(PAIRS) >= 540
    assert 0.28 < wrong / len(PAIRS) < 0.5


BARE = [
    (gold, answer)
    for sign, gold, answer in PAIRS
    if sign == "+" and len(answer.split()) < 7
    if not re.search(r"oxed|nswer|####|option|is \$|\\$", answer)
]


@pytest.mark.parametrize(("gold", "answer"), BARE)
def test_a_box_and_prose_around_an_answer_change_nothing(gold: str, answer: str) -> None:
    assert judge(gold, f"We add \\boxed{{1}} first.\n\nSo \\boxed{{{answer}}}, done.").equal


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        (r"\frac{1}{2}", "$\frac{1}{2}$"),  # form feed
        (r"\text{odd}", "\text{odd}"),  # tab
        (r"6\sqrt{3}", "\boxed{6\\sqrt{3}}"),  # backspace
        (r"(3, 4)", "\\left(3, 4\right)"),  # carriage return
        (
            r"\begin{matrix} x \\ \sqrt{3} \end{matrix}",
            r"\\begin{matrix} x \\\\ \\sqrt3 \\end{matrix}",
        ),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", "\\begin{pmatrix}\n1 \\\\\n2\n\\end{pmatrix}"),
        ("9", "Answer \\[ \n 9 \n \\]"),
    ],
)
def test_escapes_lost_or_doubled_are_repaired(gold: str, answer: str) -> None:
    assert judge(gold, answer).equal


@pytest.mark.parametrize(
    ("gold", "answer", "reason"),
    [
        ("5", r"\boxed{}", "no_answer"),
        ("5", "", "no_answer"),
        ("5", r"\boxed{" + "5" * 2000 + "}", "no_answer"),
        ("5", r"\boxed{6}", "wrong"),
        ("5", r"\boxed{5}", "correct"),
        ("5", r"\boxed{\text{nothing} \frac{}{}}", "verifier_unparsed"),
    ],
)
def test_reasons(gold: str, answer: str, reason: str) -> None:
    assert judge(gold, answer) == Judgement(reason == "correct", reason)


def test_math_verify_reads_what_we_do_not() -> None:
    product = r"\begin{pmatrix}1&2\\3&4\end{pmatrix} \begin{pmatrix}0&1\\1&0\end{pmatrix}"
    assert judge(r"\begin{pmatrix}2&1\\4&3\end{pmatrix}", product).equal
    assert not judge(r"\begin{pmatrix}1&2\\4&3\end{pmatrix}", product).equal
    assert judge(r"\int_0^1 x^2 dx", r"\int_{0}^{1} x^{2} dx").equal


@pytest.mark.parametrize(
    "monster",
    [
        r"10^{10^{10}}",
        r"10^{10^{10^{10^{10}}}}",
        "9^{9^{9^{9}}}!",
        "(10^9)!",
        r"\binom{10^{30}}{10^{29}}",
        r"\frac{" * 60 + "1" + "}{2}" * 60,
        "(" * 300 + "1" + ")" * 300,
        "1" + "0" * 900,
        "2" + "^2" * 200,
        r"\sqrt{" * 50 + "2" + "}" * 50,
        "-" * 500 + "1",
        "|" * 99,
        ", ".join("12" for _ in range(300)),
    ],
)
def test_monsters_are_judged_at_once(monster: str) -> None:
    assert not judge("5", f"\\boxed{{{monster}}}").equal
    assert judge(monster, f"\\boxed{{{monster}}}").equal == (len(monster) <= 1000)


def test_quick_and_slow_judgements_agree() -> None:
    for _, gold, answer in PAIRS:
        quick = quick_judgement(gold, answer)
        if quick is not None and quick.equal:
            assert judge(gold, answer, literal=False).equal, (gold, answer)


FRAGMENTS = (
    r"\frac{ \sqrt{ } { ( ) [ ] , ; = < > | ^ _ ! % $ \$ \{ \} \left \right \pm \cup \in \text{ "
    r"\begin{pmatrix} \end{pmatrix} & \\ \pi \infty ^\circ \boxed{ x y 1 23 4.5 1,234 1e9 i e sin "
    r"log and or cm \approx \overline{ : ' é ² √ -"
)


def fragments() -> list[str]:
    return [*FRAGMENTS.split(), " ", "\n", "\x0c", "\ud800"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(fragments()), max_size=14).map("".join), st.sampled_from(PAIRS))
@example("{" * 40 + "}" * 40, PAIRS[0])
def test_no_text_makes_the_judge_raise(text: str, pair: list[str]) -> None:
    for gold, answer in ((pair[1], text), (text, pair[2]), (text, f"\\boxed{{{text}}}")):
        assert judge(gold, answer).reason


def test_random_characters_do_not_make_the_judge_raise() -> None:
    generator = random.Random(0)
    for _ in range(300):
        text = "".join(generator.choices(string.printable + "\\\\\\{{}}$$", k=30))
        assert judge("x+1", text).reason
