"""Benchmark problems within a training set are found; other problems are not."""

import json

import pytest

from twogrpo.data.contamination import load_overlap, ngrams, normal_form, overlap, report
from twogrpo.data.problems import Problem
from twogrpo.errors import ConfigError

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"


def problem(name: str, text: str) -> Problem:
    return Problem(name, text, "1")


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (r"Find $\left( \dfrac{1}{2} \right)$.", r"find $(\frac12)$"),
        (r"Let \(x = 3\,\text{cm}\)", "Let $x=3$ cm."),
        ("A  garden\n\nlike this", "a garden like this."),
    ],
)
def test_layout_does_not_make_another_problem(a, b):
    assert normal_form(a) == normal_form(b)


@pytest.mark.parametrize(
    ("a", "b"),
    [("z^4 + z^2 + 1", "z^4 - z^2 + 1"), ("x < 1", "x > 1"), ("n!", "n"), ("f(x)", "fx")],
)
def test_signs_do(a, b):
    assert normal_form(a) != normal_form(b)


def test_a_run_of_thirteen_words():
    assert len(ngrams(LONG)) == 2  # words 1–13 and 2–14
    assert ngrams(LONG.rsplit(" ", 2)[0]) == set()  # twelve words


def test_equal_and_similar_are_told_apart():
    training = [
        problem("t1", "What is $1+1$?"),
        problem("t2", f"{LONG}, then A"),
        problem("t3", "else"),
    ]
    benchmark = [
        problem("same", "what is 1 + 1 ?"),
        problem("near", f"{LONG}, then B"),
        problem("new", "something else"),
    ]
    found = overlap(training, benchmark)
    assert found.equal == {"same": ["t1"]}
    assert found.similar == {"near": ["t2"]}
    assert found.num_problems == 3
    assert report({"set": found}).splitlines()[1].split() == ["set", "3", "1", "1"]


def test_what_was_recorded_is_known_again(tmp_path):
    assert load_overlap(tmp_path) is None
    file = tmp_path / "contamination.json"
    file.write_text(json.dumps({"amc23": {"num_problems": 2, "equal": {"b": ["t"], "a": []}}}))
    assert load_overlap(tmp_path) == {"amc23": ["a", "b"]}
    file.write_text("{broken")
    with pytest.raises(ConfigError, match="damaged"):
        load_overlap(tmp_path)
