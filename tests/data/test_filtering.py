"""What is dropped, and by what name; a draw that depends on content alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twogrpo.data.filtering import prepare, read_problems, select_problems
from twogrpo.data.problems import Problem, content_id
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
        "no_question": ["row 5"],
        "no_answer": ["empty answer"],
        "not_english": ["Chinese"],
        "conflicting_answers": ["says 3", "says 4"],
        "repeat": ["spaced repeat"],
    }
    assert len(prepared.problems) + sum(prepared.counts.values()) == prepared.num_rows
    assert "not_english" not in prepare(rows, origin="here").counts
    assert len(read_problems(rows, origin="here")) == 8  # a benchmark keeps all


@pytest.mark.parametrize(
    "spellings",
    [
        ("27", "27.0", "$27$", " +27 ", "54/2"),
        (r"\frac{1}{3}", r"$\frac 13$", r"\dfrac{1}{3}", "1/3", r"\tfrac13"),
        ("1,000", "1000", r"1\,000", "1{,}000"),
        ("0.5", ".5", "0.50", r"\frac{1}{2}"),
        (r"\left(1, 2\right)", "(1,2)"),
        ("x^{2}", "x^2"),
        ("3", "x=3", "$x = 3$"),
        (r"-\frac12", r"\frac{-1}{2}", "-1/2", "-.5"),
        (r"10\%", "10%", r"$10 \%$"),
        (r"\$5", "5", "$5$"),
        ("1e3", "1000", "1.0E+3"),
        (r"\text{even}", "even", r"$\text{ even}$"),
    ],
)
def test_a_repeat_may_spell_its_answer_otherwise(spellings):
    rows = [row(str(i), "What?", answer) for i, answer in enumerate(spellings)]
    found = prepare(rows, origin="here")
    assert found.counts == {"repeat": len(spellings) - 1}
    assert [problem.answer for problem in found.problems] == [spellings[0]]


@pytest.mark.parametrize(
    "answers",
    [
        ("27", "2.7"), (r"\frac{11}{2}", r"\frac{1}{12}"), ("(1,2)", "12"), ("1,23", "123"),
        ("1/0", "1"), ("x+y=3", "3"), ("1e3", "1e-3"), ("1e999999999", "1e999999998"),
        (r"\text{a}b", r"\text{ab}c"), ("10%", "10"), (r"\frac{-1}{2}", r"\frac{1}{2}"),
        ("-3", "3"), ("9" * 5_000, "9" * 5_001),
    ],
)  # fmt: skip
def test_other_values_of_one_problem_are_a_conflict(answers):
    rows = [row("kept", "Else?", "1"), *(row(a[:9] + str(len(a)), "What?", a) for a in answers)]
    assert prepare(rows, origin="here").counts == {"conflicting_answers": 2}


def test_bad_rows_are_dropped_and_named_and_refused_only_where_no_other_is_left():
    found = prepare([row("a", "1?", "1"), {"x": 1}, row("b", "2?", None)], origin="here")
    assert found.dropped == {"no_question": ["row 2"], "no_answer": ["b"]}
    assert found.summary == "3 rows, 1 kept; dropped: 1 no_question (row 2), 1 no_answer (b)"
    with pytest.raises(ConfigError, match=r"no usable row .*1 no_question \(row 1\)"):
        prepare([{"x": 1}], origin="here")
    with pytest.raises(ConfigError, match="id a twice"):
        read_problems([row("a", "1?", "1"), row("a", "2?", "2")], origin="here")
    with pytest.raises(ConfigError, match="no usable row"):
        read_problems([row("a", "", "1")], origin="here")


def test_a_row_with_the_id_of_another_is_dropped():
    rows = [row("a", "1?", "1"), row("b", "2?", "2"), row("a", "3?", "3"), row("a", "1?", "1")]
    found = prepare(rows, origin="here")
    assert [problem.text for problem in found.problems] == ["1?", "2?"]
    assert found.dropped == {"repeat": ["a"], "repeated_id": ["a"]}


def test_an_answer_that_the_reward_cannot_judge_by_is_dropped_and_the_first_says_why():
    def check(answer):
        if "/" in answer:
            raise ValueError(f"{answer} is no plain number")

    rows = [row("a", "1?", "1"), row("b", "2?", "1/2"), row("c", "3?", "2/3"), row("d", "", "1/3")]
    found = prepare(rows, origin="here", check=check)
    assert [problem.problem_id for problem in found.problems] == ["a"]
    assert found.dropped == {"no_question": ["row 4"], "unusable_answer": ["b", "c"]}
    assert "2 unusable_answer (b, c)" in found.summary
    assert found.summary.endswith("; the first unusable answer: 1/2 is no plain number")
    either = prepare(
        [*rows, row("e", "1?", "1/2"), row("f", "5?", "1")], origin="here", check=check
    )
    assert either.dropped["conflicting_answers"] == ["a", "e"]  # whatever the reward
    with pytest.raises(ConfigError, match=r"no usable row .*1/2 is no plain number"):
        prepare(rows[1:], origin="here", check=check)


def test_system_messages_are_counted_and_ids_are_harmless_and_few():
    turns = [{"role": "system", "content": "Think."}, {"role": "user", "content": "1?"}]
    rows = [{"id": f"\x1b{i}", "prompt": turns, "answer": "1"} for i in range(5)]
    summary = prepare(rows, origin="here").summary
    assert r"dropped: 4 repeat (\x1b1, \x1b2, \x1b3, …); 5 system messages" in summary


def test_a_benchmark_keeps_repeats_that_have_no_id_of_their_own():
    found = read_problems([{"problem": "1?", "answer": "1"}] * 3, origin="here")
    name = content_id("1?")
    assert [problem.problem_id for problem in found] == [name, f"{name}-2", f"{name}-3"]


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
