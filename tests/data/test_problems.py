"""Rows of every layout become the same problem; bad rows and files are refused in one line."""

import gzip
import json
import os
from decimal import Decimal
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from tests.conftest import ROOT
from tests.tiny_vision import image
from twogrpo.config.schema import HubConfig
from twogrpo.data.problems import Problem, content_id, from_hub, from_path, to_problem
from twogrpo.errors import ConfigError

QUESTION = "What is $1 + 1$?"
# Odd rows of our own in the columns of published data sets, each with its answer or its defect.
LAYOUTS = sorted((ROOT / "tests/data/layouts").glob("*.jsonl"))


@pytest.mark.parametrize("file", LAYOUTS, ids=lambda file: file.stem)
def test_each_row_of_a_published_layout_gives_its_answer_or_its_defect(file):
    rows = list(from_path(file, origin=file.name))
    found = [to_problem(row) for row in rows]
    assert [p.defect or p.answer for p in found] == [row["expected"] for row in rows]
    assert all(problem.text for problem in found if not problem.defect)


def test_the_published_wrapper_and_content_in_parts_leave_the_question_alone():
    rows = from_path(ROOT / "tests/data/layouts/dapo_math_17k.jsonl", origin="dapo")
    texts = [to_problem(row).text for row in rows]
    assert texts[:4] == ["What is 3+4?", "Two\n\nparagraphs?", "What is 1+1?", "What is 5+5?"]


@pytest.mark.parametrize(
    ("row", "defect"),
    [
        ({"text": "no question", "answer": "2"}, "no_question"),
        ({"problem": 3.5, "answer": "2"}, "no_question"),
        ({"problem": "\ud800", "answer": "2"}, "no_question"),
        ({"prompt": "", "answer": "2"}, "no_question"),
        ({"prompt": [["What?"]], "answer": "2"}, "no_question"),
        ({"problem": QUESTION}, "no_answer"),
        ({"problem": QUESTION, "answer": b"\xff"}, "no_answer"),
        ({"problem": QUESTION, "answer": "\ud800"}, "no_answer"),
        ({"problem": QUESTION, "solution": ["\ud800"]}, "no_answer"),
        ({"problem": QUESTION, "answer": Decimal("NaN")}, "no_answer"),
        *(
            ({"problem": QUESTION, "answer": text}, "no_answer")
            for text in (
                r"\text{proof}",
                r"$\textbf{Proof.}$",
                "(not found)",
                "Proof by induction on n.",
                "First we show that the sum is even, and then that it cannot be a square of one",
                "由数学归纳法可知结论成立。",
            )
        ),
        *(
            ({"problem": QUESTION, "solution": text}, "no_answer")
            for text in ("由数学归纳法可证", "证明：由归纳法，结论成立。", "By induction on n.")
        ),
        ({"problem": QUESTION, "answer": "2", "images": ["a path, not bytes"]}, "broken_picture"),
        ({"problem": QUESTION, "answer": "2", "images": 5}, "broken_picture"),
        ({"problem": "<image>?", "answer": "2", "images": None}, "broken_picture"),
        ({"problem": "See.", "answer": "2", "image": {"bytes": None}}, "broken_picture"),
    ],
)
def test_a_row_that_cannot_be_used_says_why(row, defect):
    assert to_problem(row).defect == defect


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        *(
            (text, text)
            for text in (
                "All real numbers.",
                r"\text{all even numbers}",
                "平行四边形",
                "直角三角形或钝角三角形",
                "x is even and y is odd",
                "a proof",
                "$f(x)=x$ for every positive integer x and no other",
            )
        ),
        (Decimal("4.50"), "4.5"),
        (Decimal(100), "100"),
        (b" 7 ", "7"),
        (-2.0, "-2"),
        (8, "8"),
    ],
)
def test_an_answer_of_another_type_is_read(answer, text):
    assert to_problem({"problem": QUESTION, "answer": answer}) == Problem(
        content_id(QUESTION), QUESTION, text
    )


def test_an_image_in_a_message_part_has_its_place():
    parts = [{"type": "image"}, {"type": "text", "text": "Find x."}]
    row = {"prompt": [{"role": "user", "content": parts}], "answer": "1", "images": [b"png"]}
    assert to_problem(row).text == "<image>Find x."
    assert to_problem(row | {"images": None, "image": {"bytes": b"png"}}).images == (b"png",)


def test_a_row_without_an_id_is_named_by_its_content():
    row = {"problem": QUESTION, "answer": "2"}
    assert to_problem(row).problem_id == content_id(QUESTION)
    assert content_id("a b") == content_id("ab") != content_id("ac")
    assert content_id("a", [b"one image"]) != content_id("a", [b"another"])


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
        assert list(from_path(tmp_path / name, origin=name)) == rows
    (tmp_path / "x.jsonl").write_bytes(b"\xef\xbb\xbf" + text.encode())  # Windows' mark of UTF-8
    assert list(from_path(tmp_path / "x.jsonl", origin="x")) == rows


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b'{"problem": "1"}\n{broken\n', "line 2"),
        (b'{"problem": "\xff"}\n', "line 1"),
        (b"[1]\n", "line 1 is not a JSON object"),
        (b"[" * 100_000 + b"\n", "line 1"),
        (b'{"answer": "1", "answer": "2"}\n', "line 1 .*it has a key twice"),
    ],
)
def test_a_broken_line_is_named(tmp_path, content, wanted):
    file = tmp_path / "x.jsonl"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=wanted):
        list(from_path(file, origin="dataset.path=x"))


def damaged(folder: Path) -> dict[str, Path]:
    """Files that cannot be read, by what is wrong with them."""
    lines = b"".join(b'{"problem": "%d+1", "answer": "%d"}\n' % (i, i + 1) for i in range(2_000))
    packed = bytearray(gzip.compress(lines))
    table = pyarrow.Table.from_pylist([{"problem": "1", "answer": "2"}] * 9)
    pyarrow.parquet.write_table(table, folder / "whole.parquet")
    parquet = (folder / "whole.parquet").read_bytes()
    contents = {
        "gz cut.jsonl.gz": packed[:2_000],
        "gz of a flipped bit.jsonl.gz": packed[:900] + bytes([packed[900] ^ 8]) + packed[901:],
        "no gz.jsonl.gz": lines,
        "binary.jsonl": bytes(range(256)),
        "no parquet.parquet": b"no parquet",
        "parquet cut.parquet": parquet[:-20],
        "flipped.parquet": parquet[:-9] + bytes([parquet[-9] ^ 255]) + parquet[-8:],
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "loop.jsonl").symlink_to("loop.jsonl")
    (folder / "folder.jsonl").mkdir()
    os.mkfifo(folder / "pipe.jsonl")
    names = [*contents, "loop.jsonl", "folder.jsonl", "pipe.jsonl", "missing.jsonl", "a\0b.jsonl"]
    return {name: folder / name for name in [*names, "table.csv", f"{'x' * 300}.jsonl"]}


def test_a_damaged_or_missing_file_is_one_line_with_its_key(tmp_path):
    (tmp_path / "table.csv").write_text("a,b")
    for name, file in damaged(tmp_path).items():
        with pytest.raises(ConfigError, match=r"dataset\.path=it .*: (give|use|repair)") as refusal:
            list(from_path(file, origin="dataset.path=it"))
        assert "\n" not in str(refusal.value), name


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
    hub = HubConfig("some/set", "main", "train", "abc123")
    found = [to_problem(row) for row in from_hub(hub, origin="x", remedy="y")]
    assert asked == {"name": "some/set", "config": "main", "split": "train", "revision": "abc123"}
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "copy.parquet")
    assert found == [to_problem(row) for row in from_path(tmp_path / "copy.parquet", origin="")]
    assert found[0].images == (image("red"),)


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch):
    def load_dataset(*_, **__):
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(ConfigError, match=r"x cannot be downloaded from the hub .* with y"):
        from_hub(HubConfig("some/set", None, "train", None), origin="x", remedy="y")
