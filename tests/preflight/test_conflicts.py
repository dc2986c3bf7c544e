"""Each conflict, provoked; and none where there is none."""

import json
import shutil
import socket
from collections import namedtuple
from collections.abc import Callable

import pytest

from tests.conftest import compose_config
from twogrpo.config import Config, ConfigError, parse
from twogrpo.preflight.architectures import architecture_of
from twogrpo.preflight.conflicts import (
    Finding,
    check_values,
    checkpoint_bytes,
    conflicts,
    exit_code,
)

PAPER = (
    "experiment=table1/math_qwen25_math_7b_two_grpo",
    "rollout=vllm",
    "hardware=eight_gpus",
    "reward=exact_answer",  # starts no grading processes
)


def found(*overrides: str) -> dict[str, Finding]:
    config = parse(compose_config(*overrides), Config)
    return {f.name: f for f in conflicts(config, architecture_of(config.model))}


def test_the_embedded_run_has_no_conflict():
    findings = list(found("algorithm=two_grpo").values())
    assert {finding.level for finding in findings} == {"ok"}
    assert exit_code(findings) == 0


def test_context_shorter_than_prompt_and_response():
    """1,024 + 4,096 tokens and 4,096 positions: the choice is named; 3,072 fit."""
    long = (
        *PAPER,
        "dataset.max_response_tokens=4096",
        "evaluation.max_response_tokens=4096",
    )
    finding = found(*long)["context"]
    assert finding.level == "failure"  # vLLM refuses
    assert "dataset.max_response_tokens=3072" in finding.text
    assert found(*long, "rollout=transformers")["context"].level == "warning"
    within = (*long, "dataset.max_response_tokens=3072")
    assert found(*within)["context"].level == "failure"  # evaluation has 4,096 too
    assert found(*within, "evaluation.max_response_tokens=3072")["context"].level == "ok"
    assert "fills" in found(*PAPER, "dataset.max_prompt_tokens=4096")["context"].text


def test_values_that_a_run_would_refuse():
    with pytest.raises(ConfigError, match="prompts_per_minibatch=7"):
        check_values(parse(compose_config(*PAPER, "training.prompts_per_minibatch=7"), Config))
    check_values(parse(compose_config(*PAPER), Config))  # that no GPU is here is no mistake


@pytest.mark.parametrize(
    "overrides", [["model.prompt_template=chat"], ["reward=code_tests"], ["model.name=x"]]
)
def test_template_mismatch(overrides):
    level = found("model.prompt_template=qwen25_math", *overrides)["template"].level
    assert level == ("ok" if overrides == ["model.name=x"] else "warning")


def test_a_model_that_cannot_see_pictures():
    assert found("dataset=geometry3k")["pictures"].level == "failure"
    assert "pictures" not in found("dataset=geometry3k", "model=qwen25_vl_7b")


def test_contamination(tmp_path):
    assert found(*PAPER)["contamination"].level == "warning"
    file = tmp_path / "contamination.json"
    given = (*PAPER, f"dataset.path={tmp_path}")
    file.write_text(json.dumps({"amc23": {"equal": {"a": ["1"]}}, "math500": {"equal": {}}}))
    assert "1 of amc23" in found(*given)["contamination"].text
    file.write_text(json.dumps({"amc23": {"equal": {}}}))
    assert found(*given)["contamination"].level == "ok"


def test_a_verifier_that_accepts_a_wrong_answer(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        "twogrpo.preflight.conflicts.KNOWN_ANSWERS", {"exact_answer": ("1=1", "2=1", "1")}
    )
    finding = found()["verifier"]
    assert (finding.level, finding.text) == (
        "failure",
        "exact_answer grades right and wrong as correct, correct",
    )


def test_the_verifier_of_mathematics_is_started_and_tells_right_from_wrong():
    assert "right answer" in found(*PAPER, "reward=math_answer")["verifier"].text


def test_disk(monkeypatch: pytest.MonkeyPatch):
    """7.6e9 parameters: 12 bytes each in 2 + 1 checkpoints, 4 in the final model."""
    config = parse(compose_config(*PAPER), Config)
    assert checkpoint_bytes(config, architecture_of(config.model)) == 40 * 7_615_616_512
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0))
    assert found()["disk"].level == "failure"
    assert found(*PAPER)["disk"].level == "warning"  # planned here, carried out elsewhere


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[[OSError | None], list]:
    """`connect(error)`: what happens to those who look W&B up, and the addresses they asked for."""

    def set_up(error: OSError | None) -> list:
        asked = []

        def create_connection(address, timeout):
            asked.append((*address, timeout))
            if error:
                raise error
            return socket.socket()

        monkeypatch.setattr(socket, "create_connection", create_connection)
        return asked

    return set_up


def test_wandb_is_looked_up_only_if_online(connect):
    asked = connect(OSError("no route"))
    assert found()["W&B"].level == "ok"
    assert asked == []
    finding = found("tracking=wandb_online")["W&B"]
    assert finding.level == "failure"
    assert "tracking=wandb_offline" in finding.text
    assert asked == [("api.wandb.ai", 443, 2.0)]


def test_wandb_of_one_s_own(connect, monkeypatch: pytest.MonkeyPatch):
    asked = connect(None)
    monkeypatch.setenv("WANDB_BASE_URL", "http://wandb.example")
    assert found("tracking=wandb_online")["W&B"].level == "ok"
    assert asked == [("wandb.example", 80, 2.0)]


def test_exit_codes():
    levels = {"ok": 0, "warning": 1, "failure": 2}
    for level, code in levels.items():
        assert exit_code([Finding("ok", "", ""), Finding(level, "", "")]) == code
