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
    ],
)
def test_the_contents_of_boxes_with_and_without_braces(text, contents):
    assert [content for _, _, content in boxes(text)] == contents


def test_a_box_knows_its_place():
    text = r"so \boxed{3}, or \boxed 4 and"
    assert [text[start:end] for start, end, _ in boxes(text)] == [r"\boxed{3}", r"\boxed 4"]


def test_of_many_boxes_the_last_are_read():
    found = boxes(" ".join(rf"\boxed{{{i}}}" for i in range(1_000)))
    assert [content for _, _, content in found] == [str(i) for i in range(1_000 - MAX_BOXES, 1_000)]
