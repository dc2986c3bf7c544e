"""A damaged record is left out with a reason, and any set of the others makes exhibits."""

import json
import math
from collections.abc import Iterator

import pytest

from analysis import all as everything
from analysis.diagnostics import budget_ledger
from analysis.records.frames import load
from analysis.report import report, summary
from analysis.stats.comparison import comparisons
from analysis.theory.run_folders import read_runs
from tests.analysis import recorded
from twogrpo.errors import ConfigError


def set_in(row: dict, name: str, value: object) -> None:
    [row.__setitem__(key, value) for key in list(row) if key.endswith(name)]


# What is done to run.json and the rows of a run, and a word of the reason for leaving it out.
DAMAGES = {
    "a step is missing": (lambda about, rows: rows.pop(3), "where step 3 belongs"),
    "the first step is missing": (lambda about, rows: rows.pop(0), "step 0 belongs"),
    "a row has no step": (lambda about, rows: rows[3].pop("step"), "step"),
    "a step is text": (lambda about, rows: rows[3].update(step="x"), "x"),
    "a step is null": (lambda about, rows: rows[3].update(step=None), "no step"),
    "seconds are text": (lambda about, rows: set_in(rows[3], "/update", "x"), "seconds/update"),
    "seconds are null": (lambda about, rows: set_in(rows[3], "/update", None), "seconds/update"),
    "seconds are NaN": (lambda about, rows: set_in(rows[3], "/update", math.nan), "nan"),
    "seconds are infinite": (lambda about, rows: set_in(rows[3], "/update", math.inf), "inf"),
    "seconds are negative": (lambda about, rows: set_in(rows[3], "/update", -1.0), "-1.0"),
    "seconds are huge": (lambda about, rows: set_in(rows[3], "/update", 10**400), "no number"),
    "an evaluation's seconds are negative": (
        lambda about, rows: set_in(rows[-1], "/seconds", -1.0), "seconds",
    ),
    "a reward is NaN": (lambda about, rows: set_in(rows[3], "reward/mean", math.nan), "reward"),
    "a reward is true": (lambda about, rows: set_in(rows[3], "reward/mean", True), "reward"),
    "an entropy is huge": (
        lambda about, rows: set_in(rows[3], "policy/entropy", 10**400), "entropy",
    ),
    "an evaluation has no seconds": (
        lambda about, rows: rows[-1].pop("evaluation/easy/seconds"), "seconds",
    ),
    "the adapters are text": (
        lambda about, rows: about["config"]["model"].update(lora="x"), "config.model.lora",
    ),
    "the adapters' scale is null": (
        lambda about, rows: about["config"]["model"].update(lora={"learning_rate_scale": None}),
        "learning_rate_scale=None",
    ),
    "the hardware is a number": (lambda about, rows: about.update(hardware=5), "hardware"),
    "the number of GPUs is text": (
        lambda about, rows: about["hardware"].update(num_gpus="x"), "hardware.num_gpus",
    ),
    "the commit is a number": (lambda about, rows: about.update(commit=5), "commit=5"),
    "the benchmarks are a number": (
        lambda about, rows: about["config"]["evaluation"].update(benchmarks=5), "benchmarks=5",
    ),
    "an entropy is text": (lambda about, rows: set_in(rows[3], "policy/entropy", "x"), "entropy"),
    "num_samples is 0": (lambda about, rows: set_in(rows[-1], "/num_samples", 0), "num_samples"),
    "more are right than sampled": (
        lambda about, rows: set_in(rows[-1], "/num_correct", [9] * recorded.NUM_PROBLEMS),
        "num_correct",
    ),
    "problems lack a number": (
        lambda about, rows: set_in(rows[-1], "/num_correct", [1]), "num_correct",
    ),
    "problem_ids are gone": (
        lambda about, rows: [rows[-1].pop(k) for k in list(rows[-1]) if k.endswith("_ids")],
        "problem_ids",
    ),
    "no algorithm": (lambda about, rows: about["config"].pop("algorithm"), "name"),
    "no data set": (lambda about, rows: about["config"].pop("dataset"), "dataset"),
    "the evaluation is a number": (
        lambda about, rows: about["config"].update(evaluation=5), "evaluation",
    ),
    "the seed is text": (lambda about, rows: about["config"].update(seed="x"), "seed='x'"),
    "no config": (lambda about, rows: about.pop("config"), "config"),
    "a scale is text": (
        lambda about, rows: about["config"]["algorithm"].update(minibatch_scale="x"), "='x'",
    ),
    "0 samples in the config": (
        lambda about, rows: about["config"]["evaluation"].update(num_samples=0), "num_samples=0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_record_is_left_out_with_the_reason(name, tmp_path):
    damage, reason = DAMAGES[name]
    recorded.add(tmp_path / "whole", "grpo_g16")
    about, rows = recorded.about("two_grpo", 0), recorded.rows("two_grpo", 0)
    damage(about, rows)
    recorded.write(tmp_path / "damaged", about, rows)
    runs = load(str(tmp_path))
    assert list(runs.runs["arm"]) == ["grpo_g16"]
    [left_out] = runs.excluded["reason"]
    assert reason in left_out


@pytest.mark.parametrize(("changes", "reason"), [({"right": None}, "None"), ({"step": 99}, "99")])
def test_damaged_pairs_are_a_reason_too(changes, reason, tmp_path):
    recorded.add(tmp_path / "whole", "grpo_g16")
    first, *others = recorded.pairs("two_grpo", "text")
    recorded.write(
        tmp_path / "damaged",
        recorded.about("two_grpo", 0),
        recorded.rows("two_grpo", 0),
        [*others, first | changes],
    )
    [left_out] = load(str(tmp_path)).excluded["reason"]
    assert reason in left_out


def key_paths(values: dict, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in values.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from key_paths(value, (*above, key))


@pytest.mark.parametrize("value", [5, "x", [1], {}, None, ["x", {}]], ids=repr)
def test_any_value_of_another_type_is_left_out_or_shown(value, tmp_path):
    about, rows = recorded.about("two_grpo", 0), recorded.rows("two_grpo", 0)
    about["config"]["model"]["lora"] = {"rank": 8, "learning_rate_scale": 10.0}
    about["hardware"]["num_gpus"] = 1
    whole = recorded.add(tmp_path / "whole", "grpo_g16").parent
    damaged = recorded.write(tmp_path / "damaged", about, rows)
    for path in key_paths(about):
        changed = recorded.changed(about, **{"__".join(path): value})
        (damaged / "run.json").write_text(json.dumps(changed), encoding="utf-8")
        try:
            runs = load(str(whole), allow_mixed=True)
        except ConfigError:
            continue
        if runs.excluded.empty:  # what the exhibits read of run.json
            summary.provenance(runs), budget_ledger.build(runs), report.runs_exhibit(runs)
            [c.benchmarks for c in comparisons(runs)]


def test_the_theory_refuses_a_damaged_record_in_one_line(tmp_path):
    about = recorded.about("two_grpo", 0)
    del about["config"]["algorithm"]
    recorded.write(tmp_path / "damaged", about | {"status": "running"}, recorded.rows("grpo_g2", 0))
    with pytest.raises(ConfigError, match="damaged cannot be read"):
        read_runs(str(tmp_path))


def test_the_theory_refuses_two_runs_of_an_arm(tmp_path):
    recorded.write_arms(tmp_path, arms=("grpo_g16", "two_grpo"))
    with pytest.raises(ConfigError, match="are both of arm grpo_g16: give a folder with one"):
        read_runs(str(tmp_path))


# Runs as (arm, seed), in every set of which there is something to show or a line to say.
ODD_SETS = {
    "the start model alone": [("base", 0)],
    "16-GRPO alone": [("grpo_g16", 0)],
    "2-GRPO alone": [("two_grpo", 0)],
    "no baseline": [("base", 0), ("two_grpo", 0), ("two_grpo_rs", 0)],
    "unpaired seeds": [("grpo_g16", 0), ("two_grpo", 1)],
    "partly paired seeds": [("grpo_g16", 0), ("grpo_g16", 1), ("two_grpo", 1), ("two_grpo", 2)],
    "the ablation without its baseline": [("grpo_g2", 0), ("grpo_g4", 0)],
    "one seed": [(arm, 0) for arm in recorded.ARMS],
}


@pytest.mark.parametrize("name", ODD_SETS)
def test_an_odd_set_of_runs_makes_the_exhibits_that_it_can(name, tmp_path):
    for arm, seed in ODD_SETS[name]:
        recorded.add(tmp_path / f"runs/{arm}-{seed}", arm, seed)
    everything.main(load(str(tmp_path / "runs")), tmp_path / "out", theory="nowhere", pages=False)
    assert (tmp_path / "out/table_1.csv").read_text(encoding="utf-8").count("\n") > 1


def test_a_torn_last_line_and_a_copy_of_a_run_change_nothing(tmp_path):
    recorded.add(tmp_path / "a", "grpo_g16")
    recorded.add(tmp_path / "copy", "grpo_g16")
    with (tmp_path / "a/metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 9')
    runs = load(str(tmp_path))
    assert len(runs.runs) == 1
    assert "duplicate" in runs.excluded["reason"].iloc[0]


def test_only_damaged_records_are_one_line(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/run.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ConfigError, match="no finished run"):
        load(str(tmp_path))
