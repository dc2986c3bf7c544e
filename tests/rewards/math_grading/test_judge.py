"""The judge on a corpus written for it, corpus.tsv: a sign, the gold and the answer.

"+" is right, "-" is wrong, and "?" is right but beyond the judge: a known miss.
"""

import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.rewards.math_grading.test_fuzz import FRAGMENTS
from twogrpo.rewards.math_grading.judge import judge, quick_verdict
from twogrpo.types import Verdict

LINES = Path(__file__).with_name("corpus.tsv").read_text(encoding="utf-8").split("\n")
PAIRS = [line.split("\t") for line in LINES if line and not line.startswith("#")]


@pytest.mark.parametrize(("sign", "gold", "answer"), PAIRS, ids=["|".join(p) for p in PAIRS])
def test_a_pair_of_the_corpus_is_judged_by_its_sign(sign: str, gold: str, answer: str) -> None:
    assert judge(gold, answer).is_correct == (sign == "+")


def test_the_corpus_is_large_and_balanced() -> None:
    wrong = sum(sign == "-" for sign, _, _ in PAIRS)
    assert len(PAIRS) >= 1_380
    assert 0.28 < wrong / len(PAIRS) < 0.6


BARE = [
    (gold, answer)
    for sign, gold, answer in PAIRS
    if sign == "+" and len(answer.split()) < 7
    if not re.search(r"boxed|nswer|####|option|choice|is \$|\\$", answer)
]


@pytest.mark.parametrize(("gold", "answer"), BARE)
def test_a_box_and_prose_around_an_answer_change_nothing(gold: str, answer: str) -> None:
    assert judge(gold, f"We add \\boxed{{1}} first.\n\nSo \\boxed{{{answer}}}, done.").is_correct


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        (r"\begin{matrix} x \\ \sqrt3 \end{matrix}",
         r"\\begin{matrix} x \\\\ \\sqrt3 \\end{matrix}"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", "\\begin{pmatrix}\n1 \\\\\n2\n\\end{pmatrix}"),
        ("9", "Answer \\[ \n 9 \n \\]"),
    ],
)  # fmt: skip
def test_doubled_backslashes_and_line_breaks_change_nothing(gold: str, answer: str) -> None:
    assert judge(gold, answer).is_correct


@pytest.mark.parametrize(
    ("sign", "gold", "answer"),
    [
        ("+", "58", "### Final Answer\n\n**58**"),
        ("+", "58", "## Answer\n\n58\n"),
        ("+", "58", "**Final Answer**\n\n58"),
        ("+", "58", "### **Final Answer**\n\n\\[58\\]"),
        ("+", "B", "### Final Answer\n\n(B) 12"),
        ("+", "-5", "## Answer\n\n-5"),
        ("-", "58", "58\n\n### Final Answer\n\n57"),
        ("-", "58", "### Final Answer\n\n57 or 58"),
        ("-", "58", "58\n\n## Answer\n\n"),
        ("-", "5", "# Answer\n4\n5"),
    ],
)
def test_the_answer_below_a_heading_is_judged(sign: str, gold: str, answer: str) -> None:
    assert judge(gold, answer).is_correct == (sign == "+")


HUGE = (
    ("5", "+".join(f"{9000 - k}!" for k in range(140))),
    ("5", "+".join(f"3^{{{180000 - k}}}" for k in range(80))),
    ("x", "+".join(rf"\frac{{x}}{{3^{{{38000 - k}}}}}" for k in range(40))),
    (r"\sqrt{2}+10^{-900}", "+".join(rf"(\sqrt{{2}}+{k})!" for k in range(60))),
    ("3.5", r"\pi^{10^{9}}"),
)


@pytest.mark.parametrize(("gold", "answer"), HUGE)
@pytest.mark.timeout(60)
def test_huge_numbers_end_in_bounded_time(gold: str, answer: str) -> None:
    assert not judge(gold, f"\\boxed{{{answer}}}").is_correct


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        (r"\sqrt{2}", r"\sqrt{2}+10^{-5000}"),
        (r"\pi^{5000}", r"\pi^{5000}+1"),
        ("x", "x+10^{-4000}"),
    ],
)
def test_a_difference_beyond_all_digits_is_unparsed(gold: str, answer: str) -> None:
    assert judge(gold, f"\\boxed{{{answer}}}").reason == "verifier_unparsed"


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
    assert judge(gold, answer) == Verdict(float(reason == "correct"), reason == "correct", reason)


@pytest.mark.parametrize(
    "monster",
    [r"10^{10^{10}}", r"10^{10^{10^{10^{10}}}}", "9^{9^{9^{9}}}!", "(10^9)!",
     r"\binom{10^{30}}{10^{29}}", r"\frac{" * 60 + "1" + "}{2}" * 60, "(" * 300 + "1" + ")" * 300,
     "1" + "0" * 900, "2" + "^2" * 200, r"\sqrt{" * 50 + "2" + "}" * 50, "-" * 500 + "1", "|" * 99,
     ", ".join("12" for _ in range(300))],
)  # fmt: skip
def test_monsters_are_judged_at_once(monster: str) -> None:
    assert not judge("5", f"\\boxed{{{monster}}}").is_correct
    assert judge(monster, f"\\boxed{{{monster}}}").is_correct == (len(monster) <= 1000)


def test_quick_and_slow_verdicts_agree() -> None:
    for _, gold, answer in PAIRS:
        quick = quick_verdict(gold, answer)
        if quick is not None and quick.is_correct:
            assert judge(gold, answer, literal=False).is_correct, (gold, answer)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join), st.sampled_from(PAIRS))
@example("{" * 40 + "}" * 40, PAIRS[0])
def test_no_text_makes_the_judge_raise(text: str, pair: list[str]) -> None:
    for gold, answer in ((pair[1], text), (text, pair[2]), (text, f"\\boxed{{{text}}}")):
        assert judge(gold, answer).reason
