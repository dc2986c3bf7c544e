"""The final answer is found in a response."""

import time

import pytest

from twogrpo.rewards.math_grading.extraction import MAX_ANSWER_CHARS, Extracted, extract


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (r"so \boxed{3}, no, \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"\boxed{\{ x \mid \frac{x}{2} > 1 \}}", r"\{ x \mid \frac{x}{2} > 1 \}"),
        (r"$\fbox{7}$", "7"),
        (r"\boxed 8.", "8"),
        (r"\boxed{x = \boxed{5}}", "5"),
        (r"\boxed{4}. The final answer is $5$. I hope it is correct.", "$5$"),
        (r"\boxed{4}. The final answer is in the box above.", "4"),
        ("The answer is 42. I hope so.", "42"),
        ("The answer is 3.14", "3.14"),
        ("the answer to the second question is 7/9.", "7/9"),
        ("The final answer is $12$ and $13$. Good.", "$12$ and $13$"),
        (r"The answer is $\frac12$ meters.", r"$\frac12$ meters"),
        ("work\n#### 72", "72"),
        ("**Answer:** 336", "336"),
        ("<answer> 5 </answer> bye", "5"),
        ("答案是x^2", "x^2"),
        ("x = 5", "x = 5"),
        ("There are 1,000 apples and 2,000 oranges.", "2,000"),
        ("It could be 3, 4 or 5 in the end", "3, 4 or 5"),
        ("So we get the point $(1, 2)$ in the plane.", "$(1, 2)$"),
        (r"<think>\boxed{1}</think> It is \boxed{2}.", "2"),
        (r"<think>\boxed{1}</think> As shown above.", "1"),
    ],
)
def test_the_answer_is_the_last_box_else_the_last_phrase_else_the_text(
    response: str, answer: str
) -> None:
    assert (found := extract(response)) and found.text == answer


@pytest.mark.parametrize(
    "response",
    ["", "  \n ", r"\boxed{}", r"\boxed{5} and \boxed{ }", r"\boxed{5", r"\boxed{\frac{1}{2}",
     "\\boxed{" + "1" * (MAX_ANSWER_CHARS + 1) + "}"],
)  # fmt: skip
def test_an_empty_unclosed_or_overlong_box_is_no_answer(response: str) -> None:
    assert extract(response) is None
    assert extract("\\boxed{" + "1" * MAX_ANSWER_CHARS + "}") is not None


def test_adjacent_boxes_are_also_a_list() -> None:
    assert extract(r"\boxed{1} and $\boxed{2}$") == Extracted("2", ("1", "2"))
    assert extract(r"\boxed{1}\boxed{2}") == Extracted("2", ("1", "2"))
    assert extract(r"\boxed{1} is wrong, rather \boxed{2}") == Extracted("2")
    assert extract(r"$x=\boxed{1}\quad \text{ or } y=\boxed{2}$") == Extracted(
        "2", ("1", "2"), True
    )


@pytest.mark.parametrize(
    "hostile",
    ["\\boxed{" * 15_000, "$" * 100_000, "1,2 " * 25_000, "\\[" * 50_000, "answer is " * 10_000,
     "\\boxed{" + "{" * 100_000, "(" * 100_000, "a " * 50_000, "boxed " * 17_000,
     "\\boxed{" + "x+" * 50_000 + "}", "1" * 100_000, "answer to " * 10_000, "</think>" * 12_000],
)  # fmt: skip
def test_a_hundred_kilobytes_take_under_a_second(hostile: str) -> None:
    start = time.process_time()
    extract(hostile)
    assert time.process_time() - start < 1.0
