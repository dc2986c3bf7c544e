"""The preflight as its two readers see it: a person and a program."""

import json
import os
import runpy
import sys
from collections.abc import Callable

import pytest
from hydra.core.global_hydra import GlobalHydra

from tests.conftest import ROOT, compose_config
from twogrpo.config.batch_sizes import paper_column
from twogrpo.config.schema import parse
from twogrpo.errors import ConfigError
from twogrpo.preflight.hours import Calibration, measured_on
from twogrpo.preflight.preflight import Preflight, PreflightConfig, preflight
from twogrpo.preflight.report import as_json, report

PAPER = (
    "experiment=table1/math_qwen25_math_7b_two_grpo",
    "rollout=vllm",
    "hardware=eight_gpus",
    "reward=exact_answer",  # starts no grading processes
    "dataset.max_response_tokens=3072",
    "evaluation.max_response_tokens=3072",
)
LINES_OF_A_SCREEN = 60


def config_of(*overrides: str) -> PreflightConfig:
    return parse(compose_config(*overrides, name="preflight"), PreflightConfig)


def look(*overrides: str) -> Preflight:
    return preflight(config_of(*overrides))


def line(text: str, beginning: str) -> str:
    (found,) = [line for line in text.splitlines() if line.strip().startswith(beginning)]
    return " ".join(found.split())


def test_the_paper_s_column_stands_next_to_the_run_s():
    text = report(look(*PAPER))
    assert line(text, "prompts a mini-batch").endswith("256 256")
    assert line(text, "rollouts in all").endswith("149,504 149,504")
    assert line(text, "learning rate").endswith("8e-06 8e-06")


def test_the_host_s_memory_is_that_of_all_ranks_loading_at_once():
    """7.62 B parameters in float32: 28.4 GiB for each of eight ranks."""
    text = report(look(*PAPER))
    assert line(text, "host memory").endswith("8 × 28.4 GiB")
    assert "host memory" not in report(look("hardware=cpu"))


def test_the_paper_s_column_of_every_arm():
    """16 · 512 rollouts, 32 prompts, 16 updates; the ablation's G = 2 is not 2-GRPO."""

    def paper(*overrides: str) -> list[str]:
        return paper_column(config_of(*overrides))

    assert paper("algorithm=grpo")[:5] == ["512", "8,192", "32", "512", "16"]
    assert " ".join(paper("algorithm.group_size=2")[2:]) == "32 64 16 146 2,336 149,504 1e-06"
    two_grpo = paper("algorithm=two_grpo")
    assert two_grpo[2:] == ["256", "512", "2", "146", "292", "149,504", "8e-06"]
    assert paper("algorithm=two_grpo_rs") == [*two_grpo[:7], "at most 1,196,032", "8e-06"]
    others = ["dpo", "dapo", "rloo", "gspo", "dr_grpo", "ctr_grpo"]
    for overrides in (
        *([f"algorithm={name}"] for name in others),
        ["algorithm.group_size=3"],
        ["algorithm=two_grpo", "algorithm.group_size=4"],
        ["algorithm=two_grpo_rs", "algorithm.resampling=same_prompt"],
    ):
        assert paper(*overrides) == ["–"] * 9


def test_memory_decides_the_exit_code():
    assert look("algorithm=two_grpo").exit_code == 0
    assert look("planned_device=cpu", "planned_device.memory_gib=0.05").exit_code == 2
    assert look(*PAPER).exit_code == 1  # contamination is unknown
    alone = look(*PAPER, "hardware=one_gpu", "planned_device=a100_80")
    assert alone.exit_code == 2
    assert "✗ memory: does not fit" in report(alone)


def test_adapters_make_a_run_fit_that_does_not():
    card = ["experiment=small_gpu/math_qwen25_math_1_5b_two_grpo", "planned_device=l4_24"]
    card += ["reward=exact_answer"]
    found, full = look(*card), look(*card, "lora=none")
    assert (found.exit_code, full.exit_code) == (1, 2)  # contamination is unknown
    assert "weights, bfloat16; adapters, float32" in report(found)
    assert line(report(found), "learning rate").split()[-2:] == ["8e-05", "8e-06"]  # ours, paper's
    (refused,) = [finding.text for finding in full.findings if finding.level == "failure"]
    assert "does not fit" in refused and "lora=rank_32" in refused
    assert "lora" not in report(look(*card, "planned_device.memory_gib=10")).partition("Checks")[2]


def test_a_card_without_bfloat16_is_told_so_in_one_line():
    card = ["experiment=small_gpu/gsm8k_qwen25_0_5b_instruct_two_grpo", "planned_device=t4_16"]
    found = look(*card)
    assert found.exit_code == 2
    [refused] = [finding.text for finding in found.findings if finding.level == "failure"]
    assert refused == (
        "hardware.dtype=bfloat16: t4_16 computes no bfloat16, use hardware.dtype=float32"
    )
    assert line(report(found), "✗  t4_16").endswith("computes no bfloat16, hardware.dtype=bfloat16")
    assert look(*card, "hardware.dtype=float32").exit_code < 2
    sampler = look(*card, "hardware.dtype=float32", "hardware.sampler_dtype=bfloat16")
    assert "use hardware.sampler_dtype=float32" in " ".join(report(sampler).split())


@pytest.mark.parametrize(
    ("run", "hardware", "device"),
    [
        ("table1", "one_gpu", "h200_141"),
        ("table1", "one_gpu_80gb", "h100_80"),
        ("small_gpu", "one_gpu_48gb", "l40s_48"),
        ("small_gpu", "one_gpu_24gb", "l4_24"),
    ],
)
def test_each_gpu_has_sizes_that_fit_as_its_file_says(run, hardware, device):
    experiment = f"experiment={run}/math_qwen25_math_1_5b_two_grpo"
    found = look(
        experiment, f"hardware={hardware}", f"planned_device={device}", "reward=exact_answer"
    )
    assert found.exit_code == 1  # contamination is unknown
    comment = (ROOT / f"conf/hardware/{hardware}.yaml").read_text()
    assert f" {found.needed.update_peak / 2**30:.1f} GiB while it updates" in comment
    assert f" {found.needed.sampling_peak / 2**30:.1f} while it samples" in comment


def test_a_changed_device_stands_next_to_the_one_that_it_was():
    found = look(*PAPER, "planned_device.memory_gib=48")
    text = report(found)
    assert " of 48, " in line(text, "✓  own (48 GiB)")
    # 0.5 · 139.8 GiB − 14.19 of weights − 4 = 51.7 GiB; / 57,344 B a token / (1,024 + 3,072) = 236.
    assert " of 139.8, samples 236 of the longest" in line(text, "✓  h200_141")
    assert as_json(found)["verdicts"]["own (48 GiB)"] == "fits"
    assert "own (" not in report(look(*PAPER, "planned_device=a100_80"))
    small = look(*PAPER, "planned_device.memory_gib=30", "planned_device.name=mine")
    assert line(report(small), "✗  mine").startswith("✗ mine does not fit")


@pytest.mark.parametrize("value", ["planned_device.memory_gib=48", "planned_device=a100_80"])
def test_a_gpu_planned_for_hardware_cpu_is_refused(value):
    with pytest.raises(ConfigError, match=r"planned_device.*: add hardware=one_gpu"):
        look(value)


def test_the_help_page_s_examples_plan_something():
    help_page = (ROOT / "conf/preflight.yaml").read_text()
    examples = [
        e.split("\n")[0].split() for e in help_page.split("python scripts/preflight.py ")[1:]
    ]
    assert len(examples) == 3
    for example in examples:
        assert look(*example, "reward=exact_answer").needed.peak > 0


def test_hours_are_the_paper_s_the_calibration_s_or_unknown(tmp_path):
    assert as_json(look(*PAPER))["hours"] == {"calibrated": None, "paper": 2.43, "paper_gpus": 8}
    assert "unknown" in report(look("algorithm=two_grpo"))
    file, config = tmp_path / "calibration.json", config_of("algorithm=two_grpo")
    Calibration("", "", "", measured_on(config, "cpu", 1), {"update": 7200.0}).write(file)
    found = look("algorithm=two_grpo", f"calibration={file}")
    assert found.calibrated_hours == pytest.approx(2 * config.num_steps)
    assert f"{found.calibrated_hours:.3g} h" in report(found)


def test_success_rates_replace_the_assumption(tmp_path):
    """4 and 8 of 8: pairs with signal (16/28 + 0)/2 = 28.6 %, from two prompts."""
    lines = [
        json.dumps({"step": 0, "prompt_id": name, "rewards": [1] * right + [0] * (8 - right)})
        for name, right in (("a", 4), ("b", 8))
    ]
    (tmp_path / "rollouts.jsonl").write_text("\n".join(lines) + "\n")
    found = look(*PAPER, f"success_rates={tmp_path}")
    assert as_json(found)["zero_variance"][0]["signal_share"] == pytest.approx(2 / 7)
    assert "71.4% ± 28.6%" in line(report(found), "2 ←")


EXPERIMENTS = sorted(
    file.relative_to(ROOT / "conf/experiment").with_suffix("").as_posix()
    for file in (ROOT / "conf/experiment").rglob("*.yaml")
)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_can_be_planned_on_one_screen(name):
    found = look(f"experiment={name}", "reward=exact_answer")
    assert json.loads(json.dumps(as_json(found)))["exit_code"] == found.exit_code
    text = report(found)
    assert text.endswith(f"(exit code {found.exit_code})")
    assert len(text.splitlines()) <= LINES_OF_A_SCREEN


@pytest.fixture
def shell(monkeypatch, capsys, tmp_path) -> Callable[..., tuple[int, str]]:
    """`shell("json=true")` runs the script in this process: its exit code and output."""
    monkeypatch.chdir(tmp_path)

    def run(*typed: str) -> tuple[int, str]:
        script = str(ROOT / "scripts/preflight.py")
        monkeypatch.setattr(sys, "argv", [script, *typed])
        GlobalHydra.instance().clear()
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path(script, run_name="__main__")
        GlobalHydra.instance().clear()
        return int(stopped.value.code or 0), "".join(capsys.readouterr())

    return run


def test_the_script_prints_and_writes_nothing(shell, tmp_path):
    code, output = shell(*PAPER)
    assert code == 1
    assert output.splitlines()[0].startswith("Preflight of math-qwen25_math_7b")
    assert output.rstrip().endswith("(exit code 1)")
    assert list(tmp_path.iterdir()) == []
    code, output = shell(*PAPER, "json=true")
    data = json.loads(output)
    assert data["exit_code"] == code == 1
    assert data["batches"]["updates in all"] == "292" and data["verdicts"]["h200_141"] == "fits"


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ("planned_device=h300", "planned_device=h300"),
        ("planned_device.memory_gib=0", "planned_device.memory_gib=0"),
        ("success_rates=nowhere", "success_rates=nowhere"),
        ("calibration=nowhere", "calibration=nowhere"),
        ("training.prompts_per_minibatch=7", "training.prompts_per_minibatch=7"),
        ("hardware.tensor_parallel_size=0", "hardware.tensor_parallel_size=0"),
        ("device.memory_gib=48", "device was renamed to planned_device"),
        ("probe=probe.json", "success_rates="),
        ("check=paper", "check was removed"),
        ("price_per_gpu_hour=2", "price_per_gpu_hour was removed"),
    ],
)
def test_a_bad_value_is_one_line_and_exit_code_2(shell, typed, named):
    code, output = shell(*PAPER, typed)
    assert (code, len(output.strip().splitlines())) == (2, 1)
    assert named in output


def test_an_unexpected_error_is_no_warning(shell, monkeypatch):
    """`make preflight` lets code 1 pass, which Python would end a traceback with."""

    def fail(_: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr("twogrpo.preflight.preflight.preflight", fail)
    code, output = shell(*PAPER)
    assert code == 3
    assert output.rstrip().endswith("RuntimeError: a fault of ours")


def test_make_passes_warnings_alone():
    """The recipe's guard, on every code that the script ends with."""
    recipe = (ROOT / "Makefile").read_text().partition("\npreflight:")[2].splitlines()[1]
    guard = recipe.partition("||")[2].partition("#")[0].replace("$$", "$")
    passed = [code for code in (0, 1, 2, 3, 130) if not os.system(f"sh -c 'exit {code}' ||{guard}")]
    assert passed == [0, 1]
