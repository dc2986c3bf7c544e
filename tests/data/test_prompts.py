"""From a configuration to prompts: what is drawn, what is dropped, what is refused."""

import json
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from tests import tiny_vision
from tests.conftest import compose_config
from tests.tiny_vision import image
from twogrpo.config.schema import Config, parse
from twogrpo.data.images import ImageProcessor
from twogrpo.data.problems import content_id
from twogrpo.data.prompts import (
    PromptProcessor,
    benchmark_prompts,
    training_prompts,
    validation_prompts,
)
from twogrpo.data.sources import prepared_dataset, training_problems
from twogrpo.errors import ConfigError
from twogrpo.run_record.files import read_run_file
from twogrpo.training import assemble


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A training set of 20 sums and a benchmark of 3, which the tiny tokenizer can read."""
    sums = [f"{i // 10}+{i % 10}=" for i in range(23)]
    rows = [{"id": f"p{i}", "problem": text, "answer": "1"} for i, text in enumerate(sums)]
    for name, part in (("train", rows[:20]), ("amc23", rows[20:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    return tmp_path


def config(folder: Path, *overrides: str) -> Config:
    return parse(
        compose_config(
            "dataset=math",
            f"dataset.path={folder / 'train.jsonl'}",
            "dataset.num_prompts=12",
            "evaluation=math_benchmarks",
            "evaluation.benchmarks=[amc23]",
            f"evaluation.folder={folder}",
            *overrides,
        ),
        Config,
    )


def test_the_same_problems_are_drawn_each_time_and_too_few_are_refused(folder):
    problems = training_problems(config(folder).dataset)
    assert len(problems) == 12
    assert problems == training_problems(config(folder).dataset)
    other = training_problems(config(folder, "dataset.seed=1").dataset)
    assert {p.problem_id for p in other} != {p.problem_id for p in problems}
    with pytest.raises(ConfigError, match=r"num_prompts=21 but only 20 usable.*num_prompts=20"):
        training_problems(config(folder, "dataset.num_prompts=21").dataset)


def test_a_longer_prompt_is_dropped_and_counted_never_cut(folder, tokenizer, capsys):
    (folder / "train.jsonl").write_text(
        '{"problem": "1+1=", "answer": "2"}\n{"problem": "1+1+1+1+1=", "answer": "5"}\n'
    )
    dataset = config(folder, "dataset.num_prompts=2", "dataset.max_prompt_tokens=4").dataset
    prompts = training_prompts(dataset, PromptProcessor(tokenizer, "plain"))
    assert [prompt.text for prompt in prompts] == ["1+1="]
    assert "1 of 2 prompts are longer than dataset.max_prompt_tokens=4" in capsys.readouterr().err
    dataset.max_prompt_tokens = 3
    with pytest.raises(ConfigError, match="every prompt is longer"):
        training_prompts(dataset, PromptProcessor(tokenizer, "plain"))


def test_validation_is_what_training_leaves_over(folder, tokenizer):
    small = config(folder, "evaluation.validation_every=1", "evaluation.validation_problems=8")
    processor = PromptProcessor(tokenizer, "plain")
    assert validation_prompts(small.dataset, config(folder).evaluation, processor) == []
    validation = validation_prompts(small.dataset, small.evaluation, processor)
    training = {problem.text for problem in training_problems(small.dataset)}
    assert len(validation) == 8
    assert not training & {prompt.text for prompt in validation}
    small.evaluation.validation_problems = 9
    with pytest.raises(ConfigError, match="leaves only 8 of 20 problems"):
        validation_prompts(small.dataset, small.evaluation, processor)


def test_a_benchmark_is_found_in_its_folder_and_may_be_shortened(folder, tokenizer):
    found = benchmark_prompts(config(folder).evaluation, PromptProcessor(tokenizer, "plain"))
    assert [prompt.prompt_id for prompt in found["amc23"]] == ["p20", "p21", "p22"]
    short = config(folder, "evaluation.problems_per_benchmark=2").evaluation
    assert len(benchmark_prompts(short, PromptProcessor(tokenizer, "plain"))["amc23"]) == 2


def test_a_benchmark_without_some_answers_counts_those_as_dropped(folder, tokenizer, capsys):
    rows = [{"problem": "1+1=", "answer": "2"}, {"problem": "2+2=", "answer": None}]
    (folder / "amc23.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = benchmark_prompts(config(folder).evaluation, PromptProcessor(tokenizer, "plain"))
    assert found["amc23"].counts == {"used": 1, "dropped": 1}
    assert "1 of 2 prompts are ill-formed" in capsys.readouterr().err


def test_what_is_dropped_from_a_training_set_is_said_once(folder, tokenizer, capsys):
    with (folder / "train.jsonl").open("a") as file:
        file.write('{"id": "no", "problem": "9+9=", "answer": "notfound"}\n')
    checked = config(folder, "evaluation.validation_every=1", "evaluation.validation_problems=8")
    processor = PromptProcessor(tokenizer, "plain")
    training_prompts(checked.dataset, processor)
    validation_prompts(checked.dataset, checked.evaluation, processor)
    said = capsys.readouterr().err
    assert said == "dataset.name=math: 21 rows, 20 kept; dropped: 1 no_answer (no)\n"


def test_published_ids_choose_and_must_all_be_there(folder):
    ids = folder / "ids.txt"
    ids.write_text(f"{content_id('0+1=')}\n{content_id('0+2=')}\n")
    dataset = config(folder, f"dataset.ids={ids}").dataset
    prepared = prepared_dataset(dataset)
    assert [problem.text for problem in prepared.problems] == ["0+1=", "0+2="]
    assert prepared.counts == {"not_in_ids": 18}
    ids.write_text(f"{content_id('0+1=')}\n{content_id('9+9=')}\n")
    with pytest.raises(ConfigError, match="lacks 1 of the 2 problems"):
        prepared_dataset(dataset)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("dataset.source=banana", "dataset.source=banana is unknown"),
        ("dataset.path=nowhere.jsonl", "dataset.path=.*nowhere.jsonl is not a file"),
        (f"dataset.path={'x' * 300}", "is not a file"),
        ("dataset.ids=nowhere.txt", "dataset.ids=nowhere.txt cannot be read"),
        ("dataset.ids=assets/tiny/model.safetensors", "cannot be read"),
        ("dataset.source=path dataset.path=null", "dataset.path is not set: dataset.path="),
    ],
)
def test_a_wrong_source_is_one_line(folder, override, message):
    with pytest.raises(ConfigError, match=message):
        prepared_dataset(config(folder, *override.split()).dataset)


def test_pictures_without_a_place_or_a_model_that_takes_them(folder, tokenizer, capsys):
    rows = [
        {"id": "good", "problem": "<image>1?", "answer": "1", "images": [image("red")]},
        {"id": "odd", "problem": "<image><image>2?", "answer": "2", "images": [image("red")]},
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "train.parquet")
    dataset = config(folder, f"dataset.path={folder / 'train.parquet'}").dataset
    dataset.num_prompts, dataset.max_prompt_tokens = 2, 100
    images = ImageProcessor(tiny_vision.processor(), tiny_vision.ID["<|image_pad|>"])
    with pytest.raises(ConfigError, match="have images"):
        training_prompts(dataset, PromptProcessor(tokenizer, "plain"))
    processor = PromptProcessor(tiny_vision.tokenizer(), "chat", images)
    (prompt,) = training_prompts(dataset, processor)
    assert prompt.prompt_id == "good"
    assert prompt.images == (image("red"),)
    assert prompt.token_ids.count(tiny_vision.ID["<|image_pad|>"]) == 1
    said = "1 of 2 prompts are ill-formed (odd: 1 images but 2 places for them): dropped"
    assert said in capsys.readouterr().err


def test_another_content_behind_a_name_of_the_hub_is_another_run(
    make_config, monkeypatch, tmp_path
):
    """An unpinned set, or its branch, may change; the record holds a hash of what was read."""
    rows = [{"problem": f"{i // 10}+{i % 10}=", "answer": "1"} for i in range(24)]

    def load_dataset(name, config, *, split, revision):
        return datasets.Dataset.from_list(rows)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    hub = "{id: some/set, config: null, split: s, revision: null}"
    typed = [
        "dataset.source=hub", f"dataset.hub={hub}", "dataset.num_prompts=20",
        "dataset.name=mine", "evaluation.source=hub", f"+evaluation.hub.amc23={hub}",
        "evaluation.benchmarks=[amc23]", "evaluation.validation_splits=[validation]",
    ]  # fmt: skip
    assemble.assemble(make_config(*typed)).record.interrupt("test")
    inputs = read_run_file(tmp_path / "run")["inputs"]
    assert list(inputs) == ["model.path", "dataset.hub", "evaluation.hub"]
    assert [*inputs["dataset.hub"], *inputs["evaluation.hub"]] == ["some/set", "amc23"]
    assemble.assemble(make_config(*typed)).record.interrupt("test")  # the same goes on
    rows = [row | {"answer": "2"} for row in rows]
    with pytest.raises(ConfigError, match=r"dataset\.hub: some/set is not what it was"):
        assemble.assemble(make_config(*typed))
