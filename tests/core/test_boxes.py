r"""`\boxed{…}` is read alike in responses and in the solutions of data sets."""

import pytest

from twogrpo.core.boxes import MAX_BOXES, boxes


@pytest.mark.parametrize(
    ("text", "contents"),
    [
        (r"\boxed{\frac{1}{2}}", [r"\frac{1}{2}"]),
        (r"\boxed{1} then \fbox{2}", ["1", "2"]),
        (r"\boxed{unclosed", [""]),
        ("none", []),
        (r"\boxed{}", [""]),
        (r"$\boxed 2$", ["2"]),
        (r"$\boxed {11}$", ["11"]),
        (r"is \boxed 3.5. Or \(\boxed 5\), \[\boxed 6\]", ["3.5", "5", "6"]),
        (r"$\boxed 1,000$, $\boxed 7, 8$", ["1,000", "7"]),
        (r"$\boxed\left(x,y\right)$", [r"\left(x,y\right)"]),
        (r"$\boxed\frac12$.", [r"\frac12"]),
        (r"\boxed{ \left\{1\right\} }", [r" \left\{1\right\} "]),
        (r"\boxed{\left\{x : x > 1\right.}", [r"\left\{x : x > 1\right."]),
        (r"$\boxed\text{even number}$", [r"\text{even number}"]),
        (r"\boxed (1, 2). Or $\boxed [1, 2)$", ["(1, 2)", "[1, 2)"]),
        (r"$\boxed\displaystyle 9$", [r"\displaystyle 9"]),
        (r"$\boxed\frac 1 {2} x$", [r"\frac 1 {2}"]),
        (r"$\boxed\sqrt [3] 2$", [r"\sqrt [3] 2"]),
        (r"$\boxed a_{n + 1}$", ["a_{n + 1}"]),
        (r"$\boxed\overline {AB}$", [r"\overline {AB}"]),
        (r"$\boxed\left.x\right| y$", [r"\left.x\right|"]),
        (r"$\boxed\left\{ 1, 2 \right\}$", [r"\left\{ 1, 2 \right\}"]),
        (
            r"$\boxed\begin{pmatrix} 1 \\ 2 \end{pmatrix}$",
            [r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"],
        ),
        (r"$\boxed\$ 5$, $\boxed - 3$, $\boxed 2+ 3$", [r"\$ 5", "- 3", "2+ 3"]),
        (r"(so $\boxed 3)$ and \text{it is \boxed 4}", ["3", "4"]),
        (r"$\boxed (1, 2$, $\boxed\text{ab$, $\boxed\frac1$", ["", "", ""]),
        (r"$\boxed$", []),
    ],
)
def test_the_contents_of_boxes_with_and_without_braces(text, contents):
    assert [content for _, _, content in boxes(text)] == contents


def test_a_box_knows_its_place():
    text = r"so \boxed{3}, or \boxed 4 and"
    assert [text[start:end] for start, end, _ in boxes(text)] == [r"\boxed{3}", r"\boxed 4"]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("text", ["(", "{", "[", " ", "a", "\\frac", "\\boxed(", "\\boxed"])
def test_a_long_text_is_read_in_time(text):
    """In time that is quadratic in its length, this would take minutes."""
    contents = [content for _, _, content in boxes("\\boxed " + text * 300_000)]
    assert not any(content.strip("\\boxed") for content in contents)


def test_of_many_boxes_the_last_are_read():
    found = boxes(" ".join(rf"\boxed{{{i}}}" for i in range(1_000)))
    assert [content for _, _, content in found] == [str(i) for i in range(1_000 - MAX_BOXES, 1_000)]
