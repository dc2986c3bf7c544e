"""The published data sets themselves: `TWOGRPO_DATA=<folder> pytest -m real_data`."""

import os
from itertools import chain
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from tests.conftest import ROOT
from twogrpo.data.contamination import Overlap, overlap
from twogrpo.data.filtering import FilteredProblems, prepare, select_problems
from twogrpo.data.problems import content_id, from_path

FOLDER = Path(os.environ.get("TWOGRPO_DATA", ""))
SIZES = {"math500": 500, "amc23": 40, "minerva_math": 272, "aime25": 30, "olympiadbench": 675}

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif("TWOGRPO_DATA" not in os.environ, reason="TWOGRPO_DATA names no folder"),
]


def conf(name: str) -> DictConfig:
    return OmegaConf.load(ROOT / f"conf/dataset/{name}.yaml")


def prepared(*files: str, english_only: bool = False) -> FilteredProblems:
    rows = chain.from_iterable(from_path(FOLDER / file, origin=file) for file in files)
    return prepare(rows, origin=files[0], english_only=english_only)


@pytest.fixture(scope="module")
def dapo() -> FilteredProblems:
    return prepared("dapo_math_17k.jsonl.gz", "dapo_math_17k_set_aside.jsonl", english_only=True)


@pytest.fixture(scope="module")
def overlaps(dapo: FilteredProblems) -> dict[str, Overlap]:
    return {name: overlap(dapo.problems, prepared(f"{name}.jsonl").problems) for name in SIZES}


def test_dapo_has_its_published_repeats_and_chinese_rows(dapo: FilteredProblems):
    assert dapo.num_rows == 17_917
    assert dapo.counts == {"not_english": 3_432, "repeat": 676, "conflicting_answers": 28}
    assert len(dapo.problems) == 13_781


def test_math_gsm8k_and_the_benchmarks_have_their_sizes_and_repeats():
    math = prepared("math_train.jsonl.gz")
    assert (math.num_rows, math.counts) == (7_500, {"repeat": 2})
    for name, size in {"gsm8k_train": 7_473, **SIZES}.items():
        found = prepared(f"{name}.jsonl.gz" if name == "gsm8k_train" else f"{name}.jsonl")
        assert (found.num_rows, found.counts) == (size, {})


def test_published_columns_give_the_usable_rows_and_answers_that_the_configuration_promises():
    """MATH: 7,500 less 2 repeats and 2 empty boxes; its answers are those of the copies here."""
    rows = list(from_path(FOLDER / "math_train.jsonl.gz", origin="MATH"))
    published = [
        {"problem": r["problem"], "level": r.get("level"), "solution": r["solution"]} for r in rows
    ]
    math = prepare(published, origin="MATH")
    assert math.counts == {"no_answer": 2, "repeat": 2}
    assert len(math.problems) == conf("math").num_prompts == 7_496
    answers = {content_id(row["problem"]): row["answer"] for row in reversed(rows)}
    assert all(p.answer == answers[content_id(p.text)] for p in math.problems)
    rows = list(from_path(FOLDER / "gsm8k_train.jsonl.gz", origin="GSM8K"))
    published = [{"question": row["problem"], "answer": row["solution"]} for row in rows]
    gsm8k = prepare(published, origin="GSM8K")
    assert len(gsm8k.problems) == conf("gsm8k").num_prompts == 7_473
    assert [p.answer for p in gsm8k.problems] == [row["answer"] for row in rows]


def test_dapo_in_verls_columns_gives_the_published_ids(dapo: FilteredProblems):
    rows = chain.from_iterable(
        from_path(FOLDER / name, origin=name)
        for name in ("dapo_math_17k.jsonl.gz", "dapo_math_17k_set_aside.jsonl")
    )
    head = "Solve the following math problem step by step. The last line of your response …\n\n"
    foot = '\n\nRemember to put your answer on its own line after "Answer:".'
    published = (
        {
            "prompt": [{"role": "user", "content": f"{head}{row['problem']}{foot}"}],
            "reward_model": {"ground_truth": row["answer"]},
        }
        for row in rows
    )
    found = prepare(published, origin="DAPO", english_only=True)
    assert {content_id(p.text) for p in found.problems} == {
        content_id(p.text) for p in dapo.problems
    }


def test_dapo_holds_the_known_benchmark_problems(overlaps: dict[str, Overlap]):
    equal = {name: len(found.equal) for name, found in overlaps.items()}
    assert equal == {"math500": 7, "amc23": 8, "minerva_math": 0, "aime25": 0, "olympiadbench": 9}
    rows = {name: sorted(chain(*found.equal.values())) for name, found in overlaps.items()}
    for name, numbers in {
        "amc23": "14720 15263 15860 15868 15876 15885 15900 15901 16666 16683 16733",
        "math500": "16667 4953 5742 5840 6090 6170 6216",
        "olympiadbench": "11270 11273 11277 11278 11279 11280 127 4473 9706",
    }.items():
        assert rows[name] == [f"dapo-{number}" for number in numbers.split()]


def test_math_holds_three_of_olympiadbench():
    found = overlap(
        prepared("math_train.jsonl.gz").problems, prepared("olympiadbench.jsonl").problems
    )
    numbers = sorted(int(Path(i).stem) for ids in found.equal.values() for i in ids)
    assert numbers == [753, 815, 1087]


def test_the_published_ids_are_the_draw(dapo: FilteredProblems):
    ids = (ROOT / "conf/dataset/dapo_math_sub_ids.txt").read_text().split()
    drawn = select_problems(dapo.problems, 7_500, 0)
    assert sorted(content_id(problem.text) for problem in drawn) == ids
