"""Rewards are built, and their references checked, before a run starts."""

import json
import math

import pytest

from tests.conftest import CONF, compose_config
from twogrpo.config.schema import RewardConfig, parse
from twogrpo.config.script_schemas import EvaluateConfig
from twogrpo.errors import ConfigError
from twogrpo.evaluation import checkpoint
from twogrpo.preflight import compatibility
from twogrpo.rewards.build import REWARDS, build_reward, check_references
from twogrpo.training import assemble
from twogrpo.types import Prompt

TESTS = json.dumps({"functional": "assert f(1) == 2"})


def reward(name, **values):
    given = {"name": name, "noise": 0.0, "num_workers": 1, "deadline_seconds": 5.0}
    return RewardConfig(**given | values)


def prompts(*references):
    return [Prompt(f"row {n}", "", text, (0,)) for n, text in enumerate(references)]


def build_or_skip(name):
    """The reward; skips where it needs a sandbox and there is none."""
    try:
        return build_reward(reward(name))
    except ConfigError as error:
        if name != "code_tests":
            raise
        pytest.skip(str(error))


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
def test_the_first_unusable_reference_is_named(name, references, why):
    built = build_or_skip(name)
    if why is None:
        check_references(built, prompts(*references), where="dataset.name=d")
    else:
        with pytest.raises(ConfigError, match=f"^dataset.name=d: .*{why}") as refusal:
            check_references(built, prompts(*references), where="dataset.name=d")
        assert "\n" not in str(refusal.value)
    built.close()


def test_a_generated_set_whose_references_the_reward_cannot_judge_by_is_refused(
    make_config, tmp_path
):
    build_or_skip("code_tests").close()
    config = make_config("reward=code_tests")
    with pytest.raises(ConfigError, match=r"dataset.name=chain_arithmetic: 24 of 24 answers"):
        assemble.assemble(config)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("validation_every", [0, 2])
def test_a_row_whose_tests_cannot_be_read_is_dropped_not_the_set(
    make_config, tmp_path, capsys, validation_every
):
    """What preflight counts is what the run trains on."""
    rows = [{"id": f"r{n}", "problem": f"{n // 10}+{n % 10}=", "answer": TESTS} for n in range(20)]
    rows[3]["answer"] = json.dumps({"functional": "assert f(1) == 2", "starter_code": "x"})
    rows[7]["id"] = "r6"
    file = tmp_path / "odd.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = make_config(
        "dataset.source=path", f"dataset.path={file}", "reward=code_tests",
        "dataset.num_prompts=15", f"evaluation.validation_every={validation_every}",
        "evaluation.validation_splits=[validation]", "evaluation.at_end=false",
    )  # fmt: skip
    finding = compatibility._dataset(config)
    assert (finding.level, finding.text) == ("ok", f"15 problems of {file}")
    words = "20 rows, 18 kept; dropped: 1 unusable_answer (r3), 1 repeated_id (r6); "
    assert words in capsys.readouterr().err
    config.dataset.num_prompts = 19
    assert "only 18 usable problems" in compatibility._dataset(config).text
    build_or_skip("code_tests").close()
    config.dataset.num_prompts = 15
    run = assemble.assemble(config)
    assert run.record.about["prompts"]["training"] == {"used": 15, "dropped": 0}
    assert "unknown key starter_code" in capsys.readouterr().err
    run.record.interrupt("test")


def test_a_benchmark_with_unusable_references_is_refused(make_config, tmp_path):
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


def test_every_reward_has_a_file_in_conf_and_other_names_are_refused():
    assert set(REWARDS) == {path.stem for path in (CONF / "reward").glob("*.yaml")}
    with pytest.raises(ConfigError, match=r"reward.name=x is unknown"):
        build_reward(reward("x"))


@pytest.mark.parametrize("name", REWARDS)
def test_every_reward_grades_its_example(name):
    built = build_or_skip(name)
    correct, wrong, reference = built.example
    built.check_reference(reference)
    verdicts = built.grade([correct, wrong, ""], [reference] * 3)
    with pytest.raises(ValueError):
        built.grade([correct, wrong], [reference])
    built.close()
    assert built.grades_truncated == (name not in ("exact_answer", "last_number"))
    assert [(v.reward, v.is_correct) for v in verdicts] == [(1, True), (0, False), (0, False)]
    assert [v.reason for v in verdicts[::2]] == ["correct", "no_answer"]


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        *((name, "num_workers", None) for name in ("math_answer", "math_verify", "code_tests")),
        *((name, "num_workers", 0) for name in ("math_answer", "math_verify", "code_tests")),
        *(("math_answer", "deadline_seconds", x) for x in (None, 0.0, -1.0, math.inf, math.nan)),
    ],
)
def test_a_value_out_of_range_is_refused(name, key, value):
    with pytest.raises(ConfigError, match=f"reward.{key}={value}"):
        build_reward(reward(name, **{key: value}))
