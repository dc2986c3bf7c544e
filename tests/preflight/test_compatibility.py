"""Each finding is provoked, and there is none where nothing is wrong."""

import json
import shutil
from collections import namedtuple

import pytest

from tests.conftest import compose_config
from twogrpo.config.schema import Config, parse
from twogrpo.preflight.compatibility import Finding, checkpoint_bytes, compatibility_findings
from twogrpo.preflight.model_shapes import architecture_of
from twogrpo.rewards.code_execution.reward import CodeTests

PAPER = (
    "experiment=table1/math_qwen25_math_7b_two_grpo",
    "rollout=vllm",
    "hardware=eight_gpus",
    "reward=exact_answer",  # starts no grading processes
)


def found(*overrides: str) -> dict[str, Finding]:
    config = parse(compose_config(*overrides), Config)
    return {f.name: f for f in compatibility_findings(config, architecture_of(config.model))}


def test_what_small_groups_suffer_from_is_a_warning():
    """The embedded run has no finding that is not ok."""
    assert {finding.level for finding in found("algorithm=two_grpo").values()} == {"ok"}
    assert found("algorithm=dpo")["advantage"].level == "ok"
    assert found("algorithm.advantage=standardised_sample")["advantage"].level == "warning"
    assert found("algorithm.importance_sampling_cap=2")["corrections"].level == "warning"
    uneven = found("hardware=four_gpus", "training.prompts_per_step=130")
    assert uneven["ranks"].level == "warning"


def test_context_shorter_than_prompt_and_response():
    """1,024 + 4,096 tokens and 4,096 positions: the choice is named; 3,072 fit."""
    long = (*PAPER, "dataset.max_response_tokens=4096", "evaluation.max_response_tokens=4096")
    finding = found(*long)["context"]
    assert finding.level == "failure"
    assert "dataset.max_response_tokens=3072" in finding.text
    assert found(*long, "rollout=transformers")["context"] == finding
    within = (*long, "dataset.max_response_tokens=3072")
    assert found(*within)["context"].level == "failure"  # evaluation has 4,096 too
    assert found(*within, "evaluation.max_response_tokens=3072")["context"].level == "ok"
    full = found(*PAPER, "dataset.max_prompt_tokens=4096")["context"]
    assert full.level == "failure" and "max_response_tokens=" not in full.text


def test_the_rows_of_a_training_set_that_is_here_are_counted_as_the_run_does(tmp_path):
    """2 of the 3 rows are usable; the hub is not asked."""
    file = tmp_path / "train.jsonl"
    rows = [{"problem": f"{n}?", "answer": answer} for n, answer in enumerate(("1", "2", None))]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    here = ("dataset=math", f"dataset.path={file}", "evaluation.validation_every=0")
    assert found("dataset=math")["dataset"].level == "ok"
    assert found(*here, "dataset.num_prompts=2")["dataset"].level == "ok"
    for typed, why in (
        ("dataset.num_prompts=3", "dataset.num_prompts=3 but only 2 usable problems"),
        ("dataset.path=nowhere.jsonl", "is not a file"),
    ):
        finding = found(*here, typed)["dataset"]
        assert finding.level == "failure" and why in finding.text
    validated = found(*here, "dataset.num_prompts=2", "evaluation.validation_every=1")
    assert "leaves only 0 of 2" in validated["dataset"].text


@pytest.mark.parametrize(
    ("path", "level"),
    [
        ("Qwen/Qwen2.5-Math-7B", "ok"),  # of the hub: not looked up
        ("gpt2", "ok"),
        ("/nowhere", "failure"),
        ("./nowhere", "failure"),
        ("models/qwen/7b", "failure"),
    ],
)
def test_a_path_that_is_no_folder_and_no_hub_id(path, level):
    finding = found(*PAPER, f"model.path={path}")["model"]
    assert finding.level == level
    assert path in finding.text
    assert "planned from Qwen/Qwen2.5-Math-7B" in finding.text  # what was planned from


SMOLLM2 = "experiment=smollm2/two_grpo"


@pytest.mark.parametrize(
    ("overrides", "level"),
    [
        ([SMOLLM2], "ok"),  # chat for chat_boxed: one format, and the task wants no box
        ([SMOLLM2, "reward=math_answer"], "warning"),  # which wants one
        ([SMOLLM2, "reward=math_answer", "model.prompt_template=think_boxed"], "ok"),
        ([SMOLLM2, "model.prompt_template=qwen25_math"], "warning"),  # another model's format
        ([SMOLLM2, "model.prompt_template=code_r1"], "warning"),  # asks for a program
        ([*PAPER, "reward=math_answer", "model.prompt_template=chat_boxed"], "warning"),
        ([*PAPER, "reward=math_answer"], "ok"),
        ([*PAPER, "reward=math_verify", "model.prompt_template=chat"], "warning"),
        ([*PAPER, "reward=code_tests"], "warning"),
        (["model.name=x", "model.prompt_template=qwen25_math"], "ok"),  # in no file
    ],
)
def test_template_mismatch(overrides, level):
    assert found(*overrides)["template"].level == level


def test_a_model_that_cannot_see_pictures():
    assert found("dataset=geometry3k")["images"].level == "failure"
    assert "images" not in found("dataset=geometry3k", "model=qwen25_vl_7b")


def test_contamination(tmp_path):
    assert found(*PAPER)["contamination"].level == "warning"
    file = tmp_path / "contamination.json"
    given = (*PAPER, f"dataset.path={tmp_path}")
    file.write_text(json.dumps({"amc23": {"equal": {"a": ["1"]}}, "math500": {"equal": {}}}))
    assert "1 of amc23" in found(*given)["contamination"].text
    prompts = f"dataset.path={tmp_path}/prompts.parquet"  # the file itself, as a run takes it
    assert "1 of amc23" in found(*PAPER, prompts)["contamination"].text
    file.write_text(json.dumps({"amc23": {"equal": {}}}))
    assert found(*given)["contamination"].level == "ok"
    assert found(*given, "dataset.source=hub")["contamination"].level == "warning"


@pytest.mark.parametrize("name", ["math_answer", "math_verify", "last_number", "code_tests"])
def test_a_verifier_is_built(name):
    finding = found(*PAPER, f"reward={name}")["verifier"]
    if "no sandbox works here" in finding.text:
        pytest.skip(finding.text)
    assert finding.level == "ok"


def test_without_isolation_programs_are_not_judged(monkeypatch: pytest.MonkeyPatch):
    """Here a failure, for another machine a warning; a wrong value fails anywhere."""

    def refuse(*_, **__):
        raise ValueError("no sandbox works here")

    monkeypatch.setattr(CodeTests, "__init__", refuse)
    finding = found(*PAPER, "reward=code_tests")["verifier"]
    assert finding.level == "warning" and "no sandbox works here" in finding.text
    assert found("reward=code_tests")["verifier"].level == "failure"
    assert (
        found(*PAPER, "reward=code_tests", "reward.num_workers=null")["verifier"].level == "failure"
    )


def test_disk(monkeypatch: pytest.MonkeyPatch):
    """7.6e9 parameters: 12 bytes each in 2 + 1 checkpoints, 4 in the final model."""
    config = parse(compose_config(*PAPER), Config)
    assert checkpoint_bytes(config, architecture_of(config.model)) == 40 * 7_615_616_512
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0))
    assert found()["disk"].level == "failure"
    assert found(*PAPER)["disk"].level == "warning"  # planned here, carried out elsewhere
