"""Rows of every layout become the same problem; bad rows and files are refused in one line."""

import gzip
import json

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from tests.tiny_vision import image
from twogrpo.config.schema import HubConfig
from twogrpo.data.problems import Problem, content_id, from_hub, from_path, last_box, to_problem
from twogrpo.errors import ConfigError

QUESTION = "What is $1 + 1$?"
WRAPPED = (
    "Solve the following math problem step by step. The last line of your response should be of "
    "the form Answer: $Answer (without quotes) where $Answer is the answer to the problem.\n\n"
    f'{QUESTION}\n\nRemember to put your answer on its own line after "Answer:".'
)
LAYOUTS = {
    "plain": {"id": "x", "problem": QUESTION, "answer": "2"},
    "amc": {"id": "x", "question": QUESTION, "answer": 2.0},
    "math": {"id": "x", "problem": QUESTION, "solution": r"one \boxed{1}, so \boxed{2}."},
    "gsm8k": {"id": "x", "question": QUESTION, "answer": "1 + 1 = <<1+1=2>>2\n#### 2"},
    "olympiad": {"id": "x", "question": QUESTION, "final_answer": ["2"]},
    "verl": {
        "id": "x",
        "prompt": [{"role": "system", "content": "Think."}, {"role": "user", "content": QUESTION}],
        "reward_model": {"ground_truth": "2", "style": "rule"},
    },
    "dapo": {
        "id": "x",
        "prompt": [{"role": "user", "content": WRAPPED}],
        "reward_model": {"ground_truth": "2"},
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_problem(layout):
    assert to_problem(LAYOUTS[layout]) == Problem("x", QUESTION, "2")
    thousands = {"question": "?", "answer": "many\n#### 1,234,567"}
    assert to_problem(thousands).answer == "1234567"


def test_a_row_without_an_id_is_named_by_its_content():
    row = {"problem": QUESTION, "answer": "2"}
    assert to_problem(row).problem_id == content_id(QUESTION)
    assert content_id("a b") == content_id("ab") != content_id("ac")
    assert content_id("a", [b"one image"]) != content_id("a", [b"another"])


@pytest.mark.parametrize(
    "row",
    [
        {"text": "no question", "answer": "2"},
        {"problem": QUESTION},
        {"problem": 3.5, "answer": "2"},
        {"problem": QUESTION, "answer": None},
        {"problem": QUESTION, "answer": ["2"]},
        {"problem": QUESTION, "answer": "2", "images": ["a path, not bytes"]},
    ],
)
def test_a_row_of_another_schema_is_refused(row):
    with pytest.raises(ValueError, match=r"expected|columns"):
        to_problem(row)


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{1} then \fbox{2}", "2"),
        (r"\boxed{unclosed", ""),
        ("none", ""),
        (r"\boxed{}", ""),
        (r"\boxed{ \left\{1\right\} }", r"\left\{1\right\}"),
    ],
)
def test_the_last_box(solution, answer):
    assert last_box(solution) == answer


def test_the_three_kinds_of_file_hold_the_same_rows(tmp_path):
    # U+2028 ends a line for str.splitlines, not for a file of JSON lines.
    rows = [
        {"id": "a", "problem": "1\u20282", "answer": "3"},
        {"id": "b", "problem": "é", "answer": "4"},
    ]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (tmp_path / "x.jsonl").write_text(text, encoding="utf-8")
    (tmp_path / "y.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "z.parquet")
    for name in ("x.jsonl", "y.jsonl.gz", "z.parquet"):
        assert list(from_path(tmp_path / name)) == rows


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b'{"problem": "1"}\n{broken\n', "line 2"),
        (b'{"problem": "\xff"}\n', "line 1"),
        (b"[1]\n", "line 1 is not a JSON object"),
        (b"[" * 100_000 + b"\n", "line 1"),
    ],
)
def test_a_broken_line_is_named(tmp_path, content, wanted):
    file = tmp_path / "x.jsonl"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=wanted):
        list(from_path(file))


def test_a_missing_or_unknown_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="is not a file"):
        from_path(tmp_path / "x.jsonl")
    (tmp_path / "x.csv").write_text("a,b")
    with pytest.raises(ConfigError, match="has an unknown file type"):
        from_path(tmp_path / "x.csv")
    (tmp_path / "x.parquet").write_text("no parquet")
    with pytest.raises(ConfigError, match="is not a readable parquet file"):
        list(from_path(tmp_path / "x.parquet"))


def test_the_hub_and_a_file_give_the_same_problems(tmp_path, monkeypatch):
    """A data set with images as the hub's library holds it, against its parquet copy."""
    rows = [
        {"images": [{"bytes": image("red"), "path": None}], "problem": "<image>?", "answer": "1"}
    ]
    text = datasets.Value("string")
    features = datasets.Features(
        {"images": datasets.List(datasets.Image()), "problem": text, "answer": text}
    )
    on_hub = datasets.Dataset.from_list(rows, features=features)
    asked = {}

    def load_dataset(name, config, *, split, revision):
        asked.update(name=name, config=config, split=split, revision=revision)
        return on_hub

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    found = [to_problem(row) for row in from_hub(HubConfig("some/set", "main", "train", "abc123"))]
    assert asked == {"name": "some/set", "config": "main", "split": "train", "revision": "abc123"}
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "copy.parquet")
    assert found == [to_problem(row) for row in from_path(tmp_path / "copy.parquet")]
    assert found[0].images == (image("red"),)


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch):
    def load_dataset(*_, **__):
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(ConfigError, match="some/set cannot be downloaded from the hub"):
        from_hub(HubConfig("some/set", None, "train", None))
