"""What a reward is given to judge by is looked at before a run, not when it is drawn."""

import json

import pytest

from tests.conftest import compose_config
from twogrpo.config.schema import RewardConfig, parse
from twogrpo.config.script_schemas import EvaluateConfig
from twogrpo.errors import ConfigError
from twogrpo.evaluation import checkpoint
from twogrpo.rewards.build import build_reward, check_references
from twogrpo.training import assemble
from twogrpo.types import Prompt

TESTS = json.dumps({"functional": "assert True"})


def reward(name, **values):
    return RewardConfig(
        **{"name": name, "num_workers": 1, "deadline_seconds": 5.0, "format_weight": 0.0,
           "format_pattern": "x"} | values
    )  # fmt: skip


def prompts(*references):
    return [Prompt(f"row {n}", "", text, (0,)) for n, text in enumerate(references)]


def is_sandbox_here():
    try:
        build_reward(reward("code_tests")).close()
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize(
    ("name", "references", "why"),
    [
        ("last_number", ["12", "-3.5", "1/2", "x"], "2 of 4 answers .* row 2 .*'1/2' is no plain"),
        ("last_number", ["12", "\x1b[2J\n"], r"row 1 \('\\x1b\[2J\\n' is no plain"),
        ("code_tests", [TESTS, "7"], "1 of 2 answers .* row 1 .*'7' has no tests"),
        ("code_tests", ["[" * 100_000], "is not JSON"),
        ("last_number", ["12", "-3.5"], None),
        ("code_tests", [TESTS], None),
        ("exact_answer", ["", "any text"], None),
    ],
)
def test_the_first_answer_that_cannot_be_judged_by_is_named(name, references, why):
    if name == "code_tests" and not is_sandbox_here():
        pytest.skip("no sandbox works here")
    built = build_reward(reward(name, format_weight=0.5))
    if why is None:
        check_references(built, prompts(*references), where="dataset.name=d")
    else:
        with pytest.raises(ConfigError, match=f"^dataset.name=d: .*{why}") as refusal:
            check_references(built, prompts(*references), where="dataset.name=d")
        assert "\n" not in str(refusal.value)
    built.close()


def test_a_training_set_that_the_reward_cannot_judge_by_is_refused(make_config, tmp_path):
    if not is_sandbox_here():
        pytest.skip("no sandbox works here")
    config = make_config("reward=code_tests")
    with pytest.raises(ConfigError, match=r"dataset.name=chain_arithmetic: 24 of 24 answers"):
        assemble.assemble(config)
    assert not (tmp_path / "run").exists()


def test_a_benchmark_that_the_reward_cannot_judge_by_is_refused(make_config, tmp_path):
    (tmp_path / "odd.jsonl").write_text('{"id": "a", "problem": "1=", "answer": "1/2"}\n')
    exam = ["evaluation=math_benchmarks", "evaluation.benchmarks=[odd]",
            f"evaluation.folder={tmp_path}", "reward=last_number"]  # fmt: skip
    config = make_config(*exam)
    with pytest.raises(ConfigError, match=r"evaluation.benchmarks=odd: 1 of 1 answers .* of a "):
        assemble.assemble(config)
    values = compose_config(
        f"checkpoint={config.model.path}", f"output_dir={tmp_path / 'run'}", "tracking=local",
        "model.prompt_template=plain", *exam, name="evaluate",
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"evaluation.benchmarks=odd: 1 of 1 answers .* of a "):
        checkpoint.evaluate_checkpoint(parse(values, EvaluateConfig))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("deadline", [None, 0.0, -1.0, float("inf"), float("nan")])
def test_a_deadline_that_is_none_is_refused(deadline):
    with pytest.raises(ConfigError, match=r"reward.deadline_seconds="):
        build_reward(reward("math_answer", deadline_seconds=deadline))
