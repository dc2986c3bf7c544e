"""Benchmark problems within a training set are found; other problems are not."""

import json

import pytest

from twogrpo.data.contamination import load_overlap, ngrams, normal_form, overlap, report
from twogrpo.data.problems import Problem
from twogrpo.errors import ConfigError

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"


SAME, DIFFERENT = (
    [
        (r"Find $\left( \dfrac{1}{2} \right)$.", r"find $(\frac12)$"),
        (r"Let \(x = 3\,\text{cm}\)", "Let $x=3$ cm."),
        ("A  garden\n\nlike this", "a garden like this."),
    ],
    [("z^4 + z^2 + 1", "z^4 - z^2 + 1"), ("x < 1", "x > 1"), ("n!", "n"), ("f(x)", "fx")],
)


@pytest.mark.parametrize(("a", "b"), SAME + DIFFERENT)
def test_signs_make_another_problem_and_layout_does_not(a, b):
    assert (normal_form(a) == normal_form(b)) == ((a, b) in SAME)


def test_a_run_of_thirteen_words():
    assert len(ngrams(LONG)) == 2  # words 1–13 and 2–14
    assert ngrams(LONG.rsplit(" ", 2)[0]) == set()  # twelve words


def test_equal_and_similar_are_told_apart():
    training = {"t1": "What is $1+1$?", "t2": f"{LONG}, then A", "t3": "else"}
    benchmark = {"same": "what is 1 + 1 ?", "near": f"{LONG}, then B", "new": "something else"}
    sets = ([Problem(i, t, "1") for i, t in texts.items()] for texts in (training, benchmark))
    found = overlap(*sets)
    assert found.equal == {"same": ["t1"]}
    assert found.similar == {"near": ["t2"]}
    assert found.num_problems == 3
    assert report({"set": found}).splitlines()[1].split() == ["set", "3", "1", "1"]


def test_what_was_recorded_is_known_again(tmp_path):
    assert load_overlap(tmp_path) is None
    file = tmp_path / "contamination.json"
    file.write_text(json.dumps({"amc23": {"num_problems": 2, "equal": {"b": ["t"], "a": []}}}))
    assert load_overlap(tmp_path) == {"amc23": ["a", "b"]}
    for damaged in ("{broken", "[]", "null", '{"amc23": 1}', '{"amc23": {}}'):
        file.write_text(damaged)
        with pytest.raises(ConfigError, match="damaged"):
            load_overlap(tmp_path)
