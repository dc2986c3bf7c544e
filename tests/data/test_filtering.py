"""What is dropped, and by what name; a draw that depends on content alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twogrpo.data.filtering import prepare, read_problems, select_problems
from twogrpo.data.problems import Problem
from twogrpo.errors import ConfigError


def row(name: str, problem: str, answer: str) -> dict[str, str]:
    return {"id": name, "problem": problem, "answer": answer}


def test_each_drop_is_counted_by_its_name():
    rows = [
        row("kept", "What is 1+1?", "2"),
        row("spaced repeat", "What  is 1 + 1?", "2"),
        row("says 3", "What is 1+2?", "3"),
        row("says 4", "What is 1 +2?", "4"),
        row("empty question", "  ", "5"),
        row("empty answer", "What is 2+2?", " "),
        row("Chinese", "求 1+1", "2"),
        row("also kept", "What is 3+3?", "6"),
    ]
    prepared = prepare(rows, origin="here", english_only=True)
    assert [p.problem_id for p in prepared.problems] == ["kept", "also kept"]
    assert prepared.num_rows == 8
    assert prepared.dropped == {
        "no_question": ["empty question"],
        "no_answer": ["empty answer"],
        "not_english": ["Chinese"],
        "conflicting_answers": ["says 3", "says 4"],
        "repeat": ["spaced repeat"],
    }
    assert len(prepared.problems) + sum(prepared.counts.values()) == prepared.num_rows
    assert "not_english" not in prepare(rows, origin="here").counts
    assert len(read_problems(rows, origin="here")) == 8  # a benchmark keeps all


def test_a_repeat_may_spell_its_answer_otherwise():
    rows = [row("a", "What?", r"\frac{1}{3}"), row("b", "What?", r"$\frac 13$")]
    assert prepare(rows, origin="here").counts == {"repeat": 1}


def test_bad_rows_are_named():
    with pytest.raises(ConfigError, match="here row 2 has another schema"):
        prepare([row("a", "1?", "1"), {"x": 1}], origin="here")
    with pytest.raises(ConfigError, match="id a twice"):
        prepare([row("a", "1?", "1"), row("a", "2?", "2")], origin="here")
    with pytest.raises(ConfigError, match="no usable row"):
        prepare([row("a", "", "1")], origin="here")


problems = [Problem(f"id {i}", f"What is {i}?", str(i)) for i in range(40)]


@given(st.permutations(problems), st.integers(0, 40), st.integers(0, 3))
def test_a_draw_does_not_depend_on_the_order_of_rows(shuffled, count, seed):
    assert select_problems(shuffled, count, seed) == select_problems(problems, count, seed)


def test_a_draw_is_a_prefix_of_a_larger_one_and_depends_on_the_seed_not_on_ids():
    assert select_problems(problems, 5, 0) == select_problems(problems, 20, 0)[:5]
    assert select_problems(problems, 20, 0) != select_problems(problems, 20, 1)
    renamed = [Problem(f"other {i}", p.text, p.answer) for i, p in enumerate(problems)]
    texts = [p.text for p in select_problems(problems, 7, 0)]
    assert texts == [p.text for p in select_problems(renamed, 7, 0)]
