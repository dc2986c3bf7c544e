"""Evaluation: the record it leaves, resuming with the same numbers, whose checkpoint it was."""

import json
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow.parquet
import pytest

from analysis.records.frames import load
from tests.broken_records import BROKEN, broken
from tests.conftest import ROOT, EvenSum, compose_config
from twogrpo.config.identity import flatten
from twogrpo.config.schema import parse
from twogrpo.config.script_schemas import EvaluateConfig
from twogrpo.errors import ConfigError
from twogrpo.evaluation import checkpoint as module
from twogrpo.evaluation.card import curve, write_card
from twogrpo.evaluation.checkpoint import evaluate_checkpoint
from twogrpo.evaluation.checkpoint_source import as_its_run
from twogrpo.evaluation.evaluator import Evaluator, rollouts_per_chunk
from twogrpo.run_record import provenance
from twogrpo.run_record.eval_samples import SampleStore
from twogrpo.run_record.record import RunRecord
from twogrpo.training.loop import train


@pytest.fixture(autouse=True)
def steady(monkeypatch):
    monkeypatch.setattr(provenance, "code_hash", lambda: "one code")
    monkeypatch.setattr(module, "build_reward", lambda _: EvenSum())


def config(checkpoint: Path | str, output_dir: Path, *overrides: str) -> EvaluateConfig:
    return parse(
        compose_config(
            f"checkpoint={checkpoint}",
            f"output_dir={output_dir}",
            "tracking=local",
            "evaluation.benchmarks=[in_distribution,longer]",
            "evaluation.problems_per_benchmark=5",
            "evaluation.num_samples=4",
            "evaluation.max_response_tokens=6",
            "hardware.rollouts_per_call=8",  # chunks of two problems
            *overrides,
            name="evaluate",
        ),
        EvaluateConfig,
    )


def numbers(row):
    """The row without its times and the memory of a run's last phases."""
    cost = ("seconds/", "cpu_seconds/", "memory/")
    return {k: v for k, v in row.items() if not k.startswith(cost) and not k.endswith("/seconds")}


def test_the_record_is_a_runs_record(model_folder, tmp_path):
    row = evaluate_checkpoint(config(model_folder, tmp_path / "out"))
    run = json.loads((tmp_path / "out/run.json").read_text())
    assert run["status"] == "finished"
    assert run["config"]["algorithm"] == {"name": "base", "group_size": 0}
    assert len(run["config"]["weights_sha256"]) == 64
    lines = (tmp_path / "out/metrics.jsonl").read_text().splitlines()
    assert [numbers(json.loads(line)) for line in lines] == [numbers({"step": 0, **row})]
    counts = row["evaluation/longer/num_correct"]
    assert row["evaluation/longer/mean"] == pytest.approx(sum(counts) / 20)
    assert 0 < sum(counts) < 20


def test_every_sample_is_in_the_table(model_folder, tmp_path):
    row = evaluate_checkpoint(config(model_folder, tmp_path / "out", "evaluation.keep_text=true"))
    table = pyarrow.parquet.read_table(tmp_path / "out/evaluation/samples.parquet").to_pylist()
    assert len(table) == 2 * 5 * 4
    right = [sample for sample in table if sample["is_correct"]]
    assert len(right) == sum(
        sum(row[f"evaluation/{name}/num_correct"]) for name in ("in_distribution", "longer")
    )
    for sample in table:
        assert sample["is_correct"] == (sum(map(ord, sample["response"])) % 2 == 0)
        assert sample["finish_reason"] in ("stop", "length")
    assert not (tmp_path / "out/evaluation/samples.jsonl").exists()


@pytest.mark.parametrize("asked_before_the_kill", [1, 4])
def test_a_killed_evaluation_goes_on_with_the_same_numbers(
    model_folder, tmp_path, monkeypatch, asked_before_the_kill
):
    whole = evaluate_checkpoint(config(model_folder, tmp_path / "whole"))
    asked = []
    ask = Evaluator.sample_and_grade

    def killed(self, benchmark, prompts):
        if len(asked) == asked_before_the_kill:
            raise KeyboardInterrupt
        asked.append(len(prompts))
        return ask(self, benchmark, prompts)

    monkeypatch.setattr(Evaluator, "sample_and_grade", killed)
    with pytest.raises(KeyboardInterrupt):
        evaluate_checkpoint(config(model_folder, tmp_path / "out"))
    lines = tmp_path / "out/evaluation/samples.jsonl"
    lines.write_text(lines.read_text() + '{"benchmark": "torn', encoding="utf-8")

    again = []

    def counted(self, benchmark, prompts):
        again.append(len(prompts))
        return ask(self, benchmark, prompts)

    monkeypatch.setattr(Evaluator, "sample_and_grade", counted)
    assert numbers(evaluate_checkpoint(config(model_folder, tmp_path / "out"))) == numbers(whole)
    assert len(asked) + len(again) == 6  # five problems of each benchmark by twos


@pytest.mark.parametrize("keeps_first", [False, True])
def test_texts_are_kept_or_not_from_one_start_to_the_next(
    model_folder, tmp_path, monkeypatch, keeps_first
):
    ask, chunks = Evaluator.sample_and_grade, []

    def killed(self, benchmark, prompts):
        if len(chunks) == 2:
            raise KeyboardInterrupt
        chunks.append(prompts)
        return ask(self, benchmark, prompts)

    def evaluated(keep_text: bool):
        keeping = f"evaluation.keep_text={str(keep_text).lower()}"
        return evaluate_checkpoint(config(model_folder, tmp_path / "out", keeping))

    monkeypatch.setattr(Evaluator, "sample_and_grade", killed)
    with pytest.raises(KeyboardInterrupt):
        evaluated(keeps_first)
    monkeypatch.setattr(Evaluator, "sample_and_grade", ask)
    evaluated(not keeps_first)
    table = pyarrow.parquet.read_table(tmp_path / "out/evaluation/samples.parquet").to_pylist()
    texts = [sample["response"] is not None for sample in table]
    # Kept now: of all problems. No longer: of the two chunks of two, four samples each, before.
    assert texts == ([True] * 16 + [False] * 24 if keeps_first else [True] * 40)


def test_a_finished_evaluation_is_not_done_again(model_folder, tmp_path, monkeypatch):
    row = evaluate_checkpoint(config(model_folder, tmp_path / "out"))
    monkeypatch.setattr(Evaluator, "sample_and_grade", None)
    again = evaluate_checkpoint(config(model_folder, tmp_path / "out"))
    assert again == {"step": 0, **row}


def test_lines_of_another_key_are_not_continued(tmp_path, model_folder):
    evaluated = config(model_folder, tmp_path / "out")
    evaluate_checkpoint(evaluated)
    store = SampleStore(tmp_path / "x", "one")
    store.append([])
    assert (tmp_path / "x/samples.jsonl").exists()
    assert SampleStore(tmp_path / "x", "another").done("longer") == {}
    assert not (tmp_path / "x/samples.jsonl").exists()


def test_a_trained_policy_is_evaluated_as_its_run_did(make_run, tmp_path):
    run = make_run("algorithm=two_grpo", "algorithm.minibatch_scale=1", "seed=3")
    train(run)
    last = json.loads((tmp_path / "run/metrics.jsonl").read_text().splitlines()[-1])
    same = ("evaluation.problems_per_benchmark=3", "evaluation.seed=0")
    folder = config(tmp_path / "run", tmp_path / "a", *same)
    assert numbers({**evaluate_checkpoint(folder), "step": last["step"]}) == numbers(last)
    record = json.loads((tmp_path / "a/run.json").read_text())["config"]
    assert record["algorithm"] == {"name": "two_grpo", "group_size": 2}
    assert record["dataset"] == {"name": "chain_arithmetic", "num_prompts": 24}
    assert (record["seed"], record["step"]) == (3, last["step"])
    newest = max((tmp_path / "run/checkpoints").iterdir())
    of_checkpoint = evaluate_checkpoint(config(newest, tmp_path / "b", *same))
    assert numbers({**of_checkpoint, "step": last["step"]}) == numbers(last)


def test_a_run_that_was_not_evaluated_at_its_end_is_completed_by_a_later_evaluation(
    make_run, tmp_path
):
    train(make_run("algorithm=two_grpo", "algorithm.minibatch_scale=1", "evaluation.at_end=false"))
    row = evaluate_checkpoint(config(tmp_path / "run", tmp_path / "later"))
    assert json.loads((tmp_path / "later/run.json").read_text())["config"]["step"] == 6
    found = load(str(tmp_path), allow_mixed=True)  # asked otherwise than the run would have been
    assert found.excluded.empty
    (recorded,) = found.benchmarks.query("benchmark == 'longer'")["mean"]
    assert recorded == row["evaluation/longer/mean"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_checkpoint_of_adapters_is_evaluated_as_the_final_policy_is(make_run, tmp_path, dtype):
    """One has adapters alone, the other the merged weights; and one is not the start model."""
    given = ("lora=rank_32", "algorithm=two_grpo", f"hardware.dtype={dtype}")
    train(make_run(*given, "evaluation.at_end=false"))
    same = (f"hardware.dtype={dtype}", "hardware.sampler_dtype=float32")
    newest = max((tmp_path / "run/checkpoints").iterdir())
    places = {"checkpoint": newest, "final": tmp_path / "run", "start": model_of(tmp_path)}
    rows = {n: evaluate_checkpoint(config(p, tmp_path / n, *same)) for n, p in places.items()}
    assert numbers(rows["checkpoint"]) == numbers(rows["final"])
    assert numbers(rows["final"]) != numbers(rows["start"])
    for name in ("checkpoint", "final"):  # which run it completes
        record = json.loads((tmp_path / name / "run.json").read_text())["config"]
        assert record["model"]["lora"]["rank"] == 32


def model_of(tmp_path: Path) -> str:
    return json.loads((tmp_path / "run/run.json").read_text())["config"]["model"]["path"]


@pytest.fixture
def gsm8k_run(make_config, model_folder, tmp_path) -> Path:
    """The folder of a run that asks, samples and grades otherwise than conf/evaluate.yaml."""
    asked = ("evaluation=gsm8k", "reward=last_number", "rollout=vllm", "hardware.dtype=bfloat16")
    RunRecord(make_config(*asked, "evaluation.num_samples=7"))
    shutil.copytree(model_folder, tmp_path / "run/final")
    return tmp_path / "run"


def as_asked(*typed: str) -> EvaluateConfig:
    return parse(as_its_run(compose_config(*typed, name="evaluate"), typed), EvaluateConfig)


@pytest.mark.parametrize("place", ["", "final"])
def test_a_run_is_asked_what_it_would_be_asked_at_its_end(gsm8k_run, place):
    recorded = json.loads((gsm8k_run / "run.json").read_text())["config"]
    found = asdict(as_asked(f"checkpoint={gsm8k_run / place}"))
    for group in ("evaluation", "reward", "rollout"):
        assert found[group] == recorded[group]
    assert found["evaluation"]["name"] == "gsm8k" and found["rollout"]["engine"] == "vllm"
    assert (found["hardware"]["dtype"], found["hardware"]["sampler_dtype"]) == ("bfloat16",) * 2


def test_what_is_typed_wins_over_the_run_s_record(gsm8k_run):
    checkpoint = f"checkpoint={gsm8k_run}"
    found = as_asked(checkpoint, "evaluation.num_samples=2", "hardware.dtype=float32")
    assert (found.evaluation.name, found.evaluation.num_samples) == ("gsm8k", 2)
    assert (found.hardware.dtype, found.hardware.sampler_dtype) == ("float32",) * 2
    found = as_asked(checkpoint, "evaluation=math_benchmarks", "reward=math_answer")
    assert (found.evaluation.name, found.evaluation.num_samples) == ("math_benchmarks", 32)
    assert list(found.evaluation.hub) == found.evaluation.benchmarks
    assert (found.reward.name, found.rollout.engine) == ("math_answer", "vllm")


def test_keys_that_were_removed_since_are_left_out_of_the_run_s_record(gsm8k_run):
    record = json.loads((gsm8k_run / "run.json").read_text())
    now = record["config"]["reward"].copy()
    record["config"]["reward"] |= {"format_weight": 0.0, "format_pattern": "x"}
    (gsm8k_run / "run.json").write_text(json.dumps(record))
    assert asdict(as_asked(f"checkpoint={gsm8k_run}"))["reward"] == now


def test_a_start_model_is_asked_what_conf_says(model_folder):
    typed = (f"checkpoint={model_folder}",)
    assert as_asked(*typed) == parse(compose_config(*typed, name="evaluate"), EvaluateConfig)


def test_the_script_asks_as_the_run_would(make_config, model_folder, tmp_path):
    RunRecord(make_config())
    shutil.copytree(model_folder, tmp_path / "run/final")
    typed = [f"checkpoint={tmp_path / 'run'}", f"output_dir={tmp_path / 'out'}", "tracking=local"]
    command = [sys.executable, "scripts/evaluate.py", *typed, "evaluation.num_samples=2"]
    subprocess.run(command, cwd=ROOT, check=True)
    results = json.loads((tmp_path / "out/evaluation/card.json").read_text())["benchmarks"]
    assert {name: row["num_samples"] for name, row in results.items()} == {
        "in_distribution": 3 * 2,
        "longer": 3 * 2,
    }


def test_the_name_and_folder_come_from_the_checkpoint(model_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    evaluate_checkpoint(replace(config(model_folder, tmp_path / "x"), output_dir=""))
    run_name = f"{model_folder.name}-chain_arithmetic"
    assert (tmp_path / "runs/evaluate" / run_name / "evaluation/card.md").is_file()


@pytest.mark.parametrize(
    ("checkpoint", "overrides", "message"),
    [
        ("nobody/has-this", (), "cannot be downloaded"),
        (".", (), "has no run.json, state.json or config.json"),
        ("MODEL", ("evaluation.num_samples=0",), "num_samples=0 "),
        ("MODEL", ("evaluation.temperature=0",), "temperature=0"),
        ("MODEL", ("evaluation.benchmarks=[banana]",), "banana"),
        ("MODEL", ("rollout.engine=banana",), "rollout.engine=banana"),
        ("MODEL", ("model.prompt_template=banana",), "banana is unknown"),
        ("MODEL", ("evaluation=math_benchmarks", "evaluation.folder=/nowhere"), "is not a file"),
        ("MODEL", ("contamination=nowhere",), "contamination=nowhere has no contamination.json"),
        ("MODEL", ("contamination=''",), "contamination= has no"),
    ],
)
def test_bad_input_writes_nothing(
    model_folder, tmp_path, monkeypatch, checkpoint, overrides, message
):
    monkeypatch.chdir(tmp_path)
    found = model_folder if checkpoint == "MODEL" else checkpoint
    with pytest.raises(ConfigError, match=message):
        evaluate_checkpoint(config(found, tmp_path / "out", *overrides))
    assert not (tmp_path / "out").exists()


RESULT = {"num_samples": 4, "problem_ids": ["a", "b"], "num_correct": [4, 1]}


def test_the_curve_by_hand():
    points = {p.metric: p for p in curve("x", RESULT, [])}
    assert list(points) == ["mean@4", "pass@1", "pass@2", "pass@4"]
    assert points["mean@4"].value == points["pass@1"].value == pytest.approx((1 + 1 / 4) / 2)
    # Two of b's four samples miss its one right answer with probability C(3,2)/C(4,2) = 1/2.
    assert points["pass@2"].value == pytest.approx((1 + 1 / 2) / 2)
    assert points["pass@4"].value == 1
    assert points["pass@2"].low <= points["pass@2"].value <= points["pass@2"].high


def test_contaminated_problems_are_left_out_beside_the_whole():
    points = [p for p in curve("x", RESULT, ["a"]) if p.metric == "mean@4"]
    assert [(p.problems, p.num_problems, p.value) for p in points] == [
        ("all", 2, 0.625),
        ("without_contaminated", 1, 0.25),
    ]


def test_problems_that_are_too_long_are_counted_on_the_card(model_folder, tmp_path):
    """Of five each: in distribution the longest has 12 tokens, of `longer` two have 14."""
    evaluate_checkpoint(config(model_folder, tmp_path / "out", "evaluation.max_prompt_tokens=12"))
    run = json.loads((tmp_path / "out/run.json").read_text())
    counts = {"in_distribution": {"used": 5, "dropped": 0}, "longer": {"used": 3, "dropped": 2}}
    assert run["prompts"] == {"benchmarks": counts}
    card = json.loads((tmp_path / "out/evaluation/card.json").read_text())
    assert card["benchmarks"]["longer"]["num_problems_dropped"] == 2
    assert "| longer | 2 |" in (tmp_path / "out/evaluation/card.md").read_text()


def test_a_card_can_be_made_again_and_hostile_names_stay_text(model_folder, tmp_path):
    evaluate_checkpoint(config(model_folder, tmp_path / "out"))
    first = (tmp_path / "out/evaluation/card.json").read_text()
    write_card(tmp_path / "out")
    assert (tmp_path / "out/evaluation/card.json").read_text() == first
    run = json.loads((tmp_path / "out/run.json").read_text())
    run["config"]["model"]["prompt_template"] = "a|b\n<script>\x1b[2J"
    (tmp_path / "out/run.json").write_text(json.dumps(run))
    write_card(tmp_path / "out")
    card = (tmp_path / "out/evaluation/card.md").read_text()
    assert "| template | a\\|b?&lt;script>?[2J |" in card


def test_a_record_from_elsewhere_gets_no_secret_of_ours(gsm8k_run, monkeypatch):
    """Every text in it asks for one; it is refused, or left as it is, and never resolved."""
    monkeypatch.setenv("WANDB_API_KEY", "a secret")
    whole = json.loads((gsm8k_run / "run.json").read_text())
    cfg = compose_config(typed := f"checkpoint={gsm8k_run}", name="evaluate")
    texts = [key for key, value in flatten(whole["config"]).items() if isinstance(value, str)]
    assert {"reward.name", "rollout.engine", "model.path", "hardware.dtype"} <= {*texts}
    asking = "${oc.env:WANDB_API_KEY}"
    for key in [*texts, "evaluation.folder", "evaluation.benchmarks", "evaluation.hub"]:
        record = json.loads(json.dumps(whole))
        place = record["config"]
        *sections, name = key.split(".")
        for section in sections:
            place = place[section]
        lists = {"benchmarks": [asking], "hub": {"longer": {"id": asking}}}
        place[name] = lists.get(name, asking)
        (gsm8k_run / "run.json").write_text(json.dumps(record))
        with pytest.raises(ConfigError, match=f"{key}.* has a") as refusal:
            as_its_run(cfg, [typed])
        assert "a secret" not in str(refusal.value)


@pytest.mark.parametrize("name", [n for n, (file, _) in BROKEN.items() if file == "run.json"])
def test_a_broken_record_of_the_run_is_one_line(name, gsm8k_run, tmp_path):
    broken(name, gsm8k_run, tmp_path / "broken")
    with pytest.raises(ConfigError, match=r"run\.json cannot be read") as refusal:
        as_asked(f"checkpoint={tmp_path / 'broken'}")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "state",
    ["{}", "[]", '{"step": "2"}', '{"step": 2, "run": 1}', '{"step": 2, "run": {"identity": "x"}}'],
)
def test_a_checkpoint_of_another_run_or_of_none_is_one_line(state, gsm8k_run):
    shutil.rmtree(gsm8k_run / "final")
    (gsm8k_run / "checkpoints/000002").mkdir(parents=True)
    (gsm8k_run / "checkpoints/000002/state.json").write_text(state)
    with pytest.raises(ConfigError, match=r"state\.json|not of the run"):
        as_asked(f"checkpoint={gsm8k_run}")


@pytest.mark.parametrize("place", ["", "final"])
def test_the_final_policy_of_another_run_is_refused(make_run, tmp_path, place):
    train(make_run("evaluation.at_end=false"))
    assert evaluate_checkpoint(config(tmp_path / "run" / place, tmp_path / "whole"))
    record = json.loads((tmp_path / "run/run.json").read_text())
    (tmp_path / "run/run.json").write_text(json.dumps(record | {"identity": "another"}))
    with pytest.raises(ConfigError, match=r"final is not of the run in the run\.json above it"):
        as_asked(f"checkpoint={tmp_path / 'run' / place}")


def test_a_chunk_of_vllm_is_of_eight_calls(tmp_path):
    """It begins a response when another ends; the plain sampler has nothing to gain."""
    for typed, expected in ((), 64), (("rollout=vllm",), 512):
        asked = config("x", tmp_path, "hardware.rollouts_per_call=64", *typed)
        assert rollouts_per_chunk(asked.hardware, asked.rollout) == expected
