"""The files that a configuration names, by key."""

from pathlib import Path

from tests.conftest import compose_config, parse_config
from twogrpo.config.schema import parse
from twogrpo.config.script_schemas import EvaluateConfig
from twogrpo.data.files import ROOT, input_files


def names(files: dict[str, list[Path]]) -> dict[str, list[str]]:
    return {key: [path.name for path in paths] for key, paths in files.items()}


def test_what_is_generated_has_no_file_and_the_model_has_its_own():
    assert [*input_files(parse_config())] == ["model.path"]
    found = names(input_files(parse_config()))["model.path"]
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {*found}
    assert "SHA256SUMS" not in found


def test_data_benchmarks_ids_and_the_snapshot_of_the_hub_are_named(tmp_path):
    (tmp_path / "mine.jsonl").write_text("")
    (tmp_path / "amc23.parquet").write_text("")
    (tmp_path / "config.json").write_text("")
    (tmp_path / "notes.md").write_text("")
    asked = [
        "dataset=dapo_math_sub", f"dataset.path={tmp_path}/mine.jsonl",
        "evaluation=math_benchmarks", f"evaluation.folder={tmp_path}", "model.path=hub/id",
    ]  # fmt: skip
    config = parse_config(*asked)
    data = {"dataset.path": ["mine.jsonl"], "dataset.ids": ["dapo_math_sub_ids.txt"]}
    assert names(input_files(config)) == data | {"evaluation.folder": ["amc23.parquet"]}
    with_model = names(input_files(config, model=tmp_path))
    assert with_model["model.path"] == ["config.json"]
    assert "evaluation.folder" not in input_files(parse_config(*asked, "evaluation.at_end=false"))


def test_an_evaluation_reads_its_benchmarks_and_its_checkpoint(tmp_path):
    (tmp_path / "amc23.jsonl").write_text("")
    words = [
        "checkpoint=assets/tiny", "evaluation=math_benchmarks", f"evaluation.folder={tmp_path}",
        "evaluation.at_end=false",
    ]  # fmt: skip
    config = parse(compose_config(*words, name="evaluate"), EvaluateConfig)
    found = input_files(config)
    assert names(found)["evaluation.folder"] == ["amc23.jsonl"]
    assert found["model.path"][0].parent == ROOT / "assets/tiny"
