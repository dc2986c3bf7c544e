"""All sources give the same frames; runs that do not compare are refused, exclusions are listed."""

from pathlib import Path

import pandas as pd
import pytest

from analysis.records.frames import Runs, load
from analysis.records.readers import _log_entries
from tests.analysis import recorded
from tests.analysis.records import wandb_stub
from tests.broken_records import BROKEN, broken
from twogrpo.errors import ConfigError

FRAMES = ("runs", "steps", "evaluations", "benchmarks")


def assert_same(one: Runs, other: Runs) -> None:
    for name in FRAMES:
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))


def log_to_wandb(folder: Path, about: dict, rows: list[dict], *, finish: bool = True) -> None:
    """Mirrors a run offline as twogrpo/run_record/record.py does."""
    import wandb

    about = {key: value for key, value in about.items() if key not in ("status", "summary")}
    folder.mkdir(exist_ok=True)
    run = wandb.init(
        project="p",
        id=about["run_id"],
        config={**about["config"], "_run": {k: v for k, v in about.items() if k != "config"}},
        mode="offline",
        dir=str(folder),
        resume="allow",
        settings=wandb.Settings(silent=True, console="off", x_disable_stats=True),
    )
    for row in rows:
        run.log({k: v for k, v in row.items() if k != "step"}, step=row["step"])
    if finish:
        run.summary.update({"status": "finished"})
    run.finish()
    wandb.teardown()  # the next run of the same id belongs to another process


def test_frames_hold_what_was_logged(runs: Runs) -> None:
    assert len(runs.runs) == 1 + 6 * 2
    assert runs.settings == [("chain_arithmetic", "tiny")]
    assert runs.arms(runs.settings[0])[:4] == ["base", "grpo_g16", "two_grpo", "two_grpo_rs"]
    assert len(runs.steps) == 12 * recorded.NUM_STEPS
    assert len(runs.evaluations) == 13 * 2 * recorded.NUM_PROBLEMS
    assert runs.excluded.empty
    row = runs.runs.set_index("run_id").loc["grpo_g16-seed0-id"]
    # 8 steps of 8 prompts × 16; (0.1 + 0.2) × 16 s each and some milliseconds; not the 3 s
    # of validation.
    assert row["rollouts_generated"] == 8 * 8 * 16
    assert row["seconds_training"] == pytest.approx(8 * 0.3 * 16, abs=0.1)
    assert row["cpu_seconds_training"] == pytest.approx(8 * 0.3 * 16)
    assert row["seconds_validation"] == 6.0
    assert row["seconds_evaluation"] == 1.0


def test_arm_comes_from_the_config_not_the_folder(tmp_path: Path) -> None:
    recorded.add(tmp_path / "two_grpo", "grpo_g4")
    assert load(str(tmp_path)).runs["arm"].tolist() == ["grpo_g4"]


def test_records_offline_wandb_and_the_api_give_equal_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged = [(recorded.about(arm, 0), recorded.rows(arm, 0)) for arm in ("base", "two_grpo")]
    for about, rows in logged:
        log_to_wandb(recorded.write(tmp_path / about["run_id"], about, rows), about, rows)
    records = load(f"records:{tmp_path}")
    assert_same(records, load(f"offline:{tmp_path}"))
    with wandb_stub.serving(logged) as address:
        monkeypatch.setenv("WANDB_BASE_URL", address)
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
        assert_same(records, load("wandb://entity/project"))


def test_offline_parts_of_a_crashed_run_are_joined_last_row_wins(tmp_path: Path) -> None:
    about, rows = recorded.about("two_grpo", 0), recorded.rows("two_grpo", 0)
    killed = [*rows[:3], rows[3] | {"reward/mean": 0.0}]  # step 3 is done again after the crash
    log_to_wandb(
        tmp_path / "a", recorded.changed(about, started="2026-11-22T11"), killed, finish=False
    )
    log_to_wandb(tmp_path / "b", about, rows[3:])
    recorded.write(tmp_path / "records", about, rows)
    assert_same(load(f"records:{tmp_path / 'records'}"), load(f"offline:{tmp_path}"))


def test_log_cut_short_is_read_up_to_the_cut(tmp_path: Path) -> None:
    about, rows = recorded.about("two_grpo", 0), recorded.rows("two_grpo", 0)
    log_to_wandb(tmp_path, about, rows)
    file = next(tmp_path.rglob("*.wandb"))
    entries = list(_log_entries(file.read_bytes()))
    last_row = next(entry for entry in entries if b"evaluation/easy" in entry)
    log = file.read_bytes()
    file.write_bytes(log[: log.index(last_row[:100]) + 50])
    with pytest.raises(ValueError, match="running after 8 rows"):
        load(f"offline:{tmp_path}")


def test_a_flipped_bit_in_a_log_of_wandb_is_seen(tmp_path: Path) -> None:
    about, rows = recorded.about("two_grpo", 0), recorded.rows("two_grpo", 0)
    log_to_wandb(tmp_path, about, rows)
    file = next(tmp_path.rglob("*.wandb"))
    log = bytearray(file.read_bytes())
    log[log.index(b"num_correct") + 20] ^= 1
    file.write_bytes(bytes(log))
    with pytest.raises(ConfigError, match="bytes are damaged"):
        load(f"offline:{tmp_path}")


def test_wandb_without_a_key_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="runs=wandb://entity/project cannot be read") as refusal:
        load("wandb://entity/project")
    assert "\n" not in str(refusal.value)


def test_what_is_left_out_is_listed_with_its_reason(tmp_path: Path) -> None:
    recorded.add(tmp_path / "good", "two_grpo", started="2026-11-23")
    recorded.add(tmp_path / "older", "two_grpo")
    crashed = recorded.changed(recorded.about("two_grpo", 0), status="running")
    recorded.write(tmp_path / "crashed", crashed, recorded.rows("two_grpo", 0)[:2])
    (recorded.add(tmp_path / "broken", "two_grpo") / "run.json").write_text("{")
    reasons = load(str(tmp_path)).excluded.set_index("where")["reason"]
    assert reasons["older"] == "duplicate: good is the same run, started later"
    assert reasons["crashed"] == "running after 2 rows"
    assert reasons["broken"].startswith("unreadable: ")
    assert len(reasons) == 3


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"code": "other"}, "code"),
        ({"config__dataset__num_prompts": 128}, "dataset chain_arithmetic"),
        ({"config__evaluation__num_samples": 8}, "evaluation chain_arithmetic"),
        ({"config__evaluation__benchmarks": ["easy"]}, "evaluation chain_arithmetic"),
        ({"config__evaluation__name": "other"}, "evaluation on chain_arithmetic with tiny"),
        ({"config__training__learning_rate": 1e-4}, "training on chain_arithmetic with tiny"),
    ],
)
def test_mixed_runs_are_refused_unless_allowed(tmp_path: Path, change: dict, named: str) -> None:
    recorded.add(tmp_path / "one", "grpo_g16")
    recorded.add(tmp_path / "other", "two_grpo", commit="another of the same code", **change)
    with pytest.raises(ValueError, match=f"runs differ in their {named}.*allow_mixed=true"):
        load(str(tmp_path))
    assert len(load(str(tmp_path), allow_mixed=True).runs) == 2


def test_seeds_of_an_arm_share_its_algorithm_and_save_as_they_like(tmp_path: Path) -> None:
    recorded.add(tmp_path / "one", "grpo_g16")
    recorded.add(
        tmp_path / "saved", "grpo_g16", 1, config__checkpointing={"every": 9}, commit="same code"
    )
    assert len(load(str(tmp_path)).runs) == 2
    recorded.add(tmp_path / "other", "grpo_g16", 2, config__algorithm__minibatch_scale=2)
    with pytest.raises(ValueError, match="differ in their algorithm grpo_g16 on chain_arithmetic"):
        load(str(tmp_path))


def test_a_cell_may_train_longer_than_the_arms_beside_it(tmp_path: Path) -> None:
    recorded.add(tmp_path / "one", "grpo_g16")
    longer = {"config__cell": "2-GRPO, 2 epochs", "config__training__epochs": 2}
    recorded.add(tmp_path / "longer", "two_grpo", **longer)
    assert set(load(str(tmp_path)).runs["arm"]) == {"grpo_g16", "2-GRPO, 2 epochs"}
    recorded.add(tmp_path / "other", "two_grpo", 1, **longer | {"config__training__epochs": 3})
    with pytest.raises(ValueError, match="differ in their training 2-GRPO, 2 epochs on chain"):
        load(str(tmp_path))
    faster = longer | {"config__training__learning_rate": 1}
    recorded.add(tmp_path / "faster", "two_grpo", 2, **faster)
    with pytest.raises(ValueError, match="differ in their training on chain_arithmetic with tiny"):
        load(str(tmp_path))


def test_two_configs_of_one_arm_and_seed_are_refused_even_if_allowed(tmp_path: Path) -> None:
    recorded.add(tmp_path / "one", "two_grpo")
    recorded.add(tmp_path / "other", "two_grpo", identity="another")
    with pytest.raises(ValueError, match="two runs of arm=two_grpo seed=0"):
        load(str(tmp_path), allow_mixed=True)


def test_base_is_there_for_every_data_set_its_model_was_trained_on(tmp_path: Path) -> None:
    recorded.write_arms(tmp_path, arms=["base"], seeds=(0,))
    for name in ("math", "dapo"):
        changes = {"config__dataset__name": name, "identity": name, "run_id": name}
        recorded.add(tmp_path / name, "grpo_g16", **changes)
    loaded = load(str(tmp_path))
    assert loaded.settings == [("dapo", "tiny"), ("math", "tiny")]
    assert all(loaded.arms(setting) == ["base", "grpo_g16"] for setting in loaded.settings)


# The seconds after the last step, which the final row holds: 2 s of training, 1 s of them a save.
AFTER = {"seconds/save": 1.5, "seconds/export": 0.5, "cpu_seconds/save": 1.0}


@pytest.mark.parametrize("is_evaluated", [True, False])
def test_seconds_after_the_last_step_are_training_s_and_no_step(
    tmp_path: Path, is_evaluated: bool
) -> None:
    about, rows = recorded.about("two_grpo", 0), recorded.rows("two_grpo", 0)
    recorded.write(tmp_path / "before" / "run", about, rows)
    final = rows[-1] if is_evaluated else {"step": rows[-1]["step"]}
    recorded.write(tmp_path / "after" / "run", about, [*rows[:-1], final | AFTER])
    before, after = load(str(tmp_path / "before")), load(str(tmp_path / "after"))
    one, other = (runs.runs.iloc[0] for runs in (before, after))
    assert other["seconds_training"] == pytest.approx(one["seconds_training"] + 2)
    assert other["cpu_seconds_training"] == pytest.approx(one["cpu_seconds_training"] + 1)
    assert other["seconds_validation"] == one["seconds_validation"]
    assert (other["seconds/save"], other["seconds/export"]) == (1.5, 0.5)
    assert other["num_steps"] == recorded.NUM_STEPS
    pd.testing.assert_frame_equal(before.steps, after.steps)
    assert len(after.evaluations) == is_evaluated * len(before.evaluations)


@pytest.mark.parametrize("after", [{}, AFTER])
def test_a_later_evaluation_completes_a_run_and_keeps_the_seconds_of_its_final_row(
    tmp_path: Path, after: dict
) -> None:
    about, rows = recorded.about("two_grpo", 0), recorded.rows("two_grpo", 0)
    final = [{"step": rows[-1]["step"], **after}] if after else []
    whole = recorded.write(tmp_path / "whole" / "run", about, [*rows[:-1], rows[-1] | after])
    recorded.write(tmp_path / "parts" / "training", about, [*rows[:-1], *final])
    evaluation = recorded.changed(about, run_id="e", identity="e", config__step=recorded.NUM_STEPS)
    del evaluation["config"]["training"]
    recorded.write(tmp_path / "parts" / "evaluation", evaluation, rows[-1:])
    assert_same(load(str(whole.parent)), load(str(tmp_path / "parts")))


def test_bad_sources_are_named(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")
    refused = {
        nowhere: "is not a folder",
        str(tmp_path): "holds no run",
        "banana:x": "records:PATH",
    }
    for source, why in refused.items():
        with pytest.raises(ValueError, match=why):
            load(source)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_record_is_left_out_and_the_others_count(name: str, tmp_path: Path) -> None:
    whole = recorded.add(tmp_path / "runs/whole", "two_grpo")
    broken(name, whole, tmp_path / "runs/broken")
    runs = load(str(tmp_path / "runs"))
    assert len(runs.runs) == 1
    [(where, reason)] = runs.excluded[["where", "reason"]].to_numpy().tolist()
    assert where == "broken"
    assert reason.startswith("unreadable: ")
    assert str(tmp_path) not in reason


def test_adapters_are_a_setting_of_their_own_and_share_the_start(tmp_path):
    """The same arms and seeds on the same model, with and without adapters; one evaluated start."""
    lora = {"rank": 32, "learning_rate_scale": 10.0}
    folder = recorded.write_arms(tmp_path, seeds=(0,), arms=("base", "grpo_g16", "two_grpo"))
    for arm in ("grpo_g16", "two_grpo"):
        changes = {"identity": f"{arm} lora", "run_id": f"{arm}-lora", "config__model__lora": lora}
        about = recorded.changed(recorded.about(arm, 0), **changes)
        recorded.write(folder / f"{arm}-lora", about, recorded.rows(arm, 0))
    runs = load(str(folder))
    assert runs.settings == [("chain_arithmetic", "tiny"), ("chain_arithmetic", "tiny_lora")]
    for setting in runs.settings:
        assert runs.arms(setting) == ["base", "grpo_g16", "two_grpo"]
    rates = runs.runs[runs.runs["arm"] == "two_grpo"].set_index("model")["learning_rate"]
    assert rates["tiny_lora"] == pytest.approx(10 * rates["tiny"])
