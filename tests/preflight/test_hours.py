"""Hours: a calibration's seconds × steps, for its own run only; the paper's for its cells."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import compose_config
from twogrpo.config.schema import Config, parse
from twogrpo.errors import ConfigError
from twogrpo.preflight.hours import (
    Calibration,
    calibrated_hours,
    measured_on,
    paper_hours,
    read_calibration,
)

GPU = ("experiment=table1/math_qwen25_math_7b_two_grpo", "rollout=vllm")


def config(*overrides: str) -> Config:
    return parse(compose_config(*overrides), Config)


def calibration(run: Config, device: str, ranks: int) -> Calibration:
    seconds = {"generate": 20.0, "update": 7.0, "other": 3.0}
    return Calibration("2026-11-27", "x", "repeated", measured_on(run, device, ranks), seconds)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "calibration.json"


def test_hours_are_seconds_of_a_step_times_steps(file):
    """30 s × 146 steps / 3,600; with twice the epochs 292 steps (75,000 · 2 / 512)."""
    run = config(*GPU)
    found = calibration(run, "NVIDIA H200", 8)
    found.write(file)
    assert read_calibration(file) == found
    assert calibrated_hours(file, run, "h200_141") == pytest.approx(30 * 146 / 3600)
    longer = config(*GPU, "training.epochs=20")
    assert calibrated_hours(file, longer, "h200_141") == pytest.approx(30 * 292 / 3600)


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("algorithm.group_size=4", "algorithm.group_size"),
        ("hardware.dtype=float32", "hardware.dtype"),
        ("hardware=four_gpus", "ranks"),
        ("model=qwen25_math_1_5b", "model.name"),
        ("lora=rank_32", r"model\.lora\.rank"),
        ("rollout=transformers", "rollout.engine"),
        ("training.prompts_per_step=256", "training.prompts_per_step"),
        ("training.prompts_per_minibatch=16", "training.prompts_per_minibatch"),
        ("dataset.max_response_tokens=64", "dataset.max_response_tokens"),
    ],
)
def test_a_calibration_of_another_run_is_refused_by_its_key(override, key, file):
    calibration(config(*GPU), "NVIDIA H200", 8).write(file)
    with pytest.raises(ConfigError, match=rf"calibration=.* measured with {key}="):
        calibrated_hours(file, config(*GPU, override), "h200_141")


def test_a_calibration_of_another_device_is_refused(file):
    run = config(*GPU)
    calibration(run, "NVIDIA H200", 8).write(file)
    with pytest.raises(ConfigError, match=r"device=NVIDIA H200, .* device=a100_80"):
        calibrated_hours(file, run, "a100_80")
    calibration(run, "NVIDIA L40S", 8).write(file)
    with pytest.raises(ConfigError, match=r"device=NVIDIA L40S, .* device=l4_24"):
        calibrated_hours(file, run, "l4_24")
    calibration(run, "NVIDIA A100-SXM4-80GB", 8).write(file)
    assert calibrated_hours(file, run, "a100_80") > 0
    tiny = config("experiment=cpu/two_grpo")
    calibration(tiny, "cpu", 1).write(file)
    assert calibrated_hours(file, tiny, "cpu") > 0
    with pytest.raises(ConfigError, match=r"hardware\.num_threads=1"):
        calibrated_hours(file, config("experiment=cpu/two_grpo", "hardware.num_threads=2"), "cpu")


@pytest.mark.parametrize("broken", ["{", "[]", '{"date": "x"}', "no second", "negative", None])
def test_a_damaged_calibration_is_refused_in_one_line(broken, file):
    whole = calibration(config(), "cpu", 1)
    if broken == "no second":
        replace(whole, seconds={"generate": 0.0}).write(file)
    elif broken == "negative":
        replace(whole, seconds={"generate": 2.0, "update": -1.0}).write(file)
    elif broken is not None:
        file.write_text(broken)
    with pytest.raises(ConfigError, match=r"calibration=.*calibration\.json") as caught:
        read_calibration(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "override",
    ["training.epochs=1", "algorithm.group_size=4", "algorithm.advantage=centred", "lora=rank_32",
     "training.prompts_per_step=256", "training.prompts_per_minibatch=64"],
)  # fmt: skip
def test_a_changed_cell_has_no_hours_of_the_paper(override):
    assert paper_hours(config("experiment=table1/math_qwen25_math_7b_two_grpo", override)) is None


def test_every_published_hour_is_reached_by_its_experiment():
    """All 14 rows of Table 1; analysis/records/published/table_1.csv holds the same numbers."""
    costs = compose_config("scale=paper", name="reproduce").scale.expected_costs
    cells = [name for name in costs if name.startswith("table1/")]
    found = {name: paper_hours(config(f"experiment={name}")) for name in cells}
    assert found == {name: (costs[name].hours, costs[name].gpus) for name in cells}
    assert len(cells) == 14 and found["table1/math_qwen25_math_7b_two_grpo"] == (2.43, 8)
    # The group sizes of Table 4 have hours of ours in that file, other experiments none.
    for name in ("table4/math_qwen25_math_1_5b_g2", "fig3/geometry3k_grpo", "cpu/two_grpo"):
        assert paper_hours(config(f"experiment={name}")) is None
