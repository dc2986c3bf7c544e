"""The preflight as a person and a program meet it."""

import json
import os
import runpy
import sys
from collections.abc import Callable

import pytest
from hydra.core.global_hydra import GlobalHydra

from benchmarks.throughput.config import BenchmarkConfig
from tests.conftest import ROOT, compose_config
from twogrpo.config.batch_sizes import paper_column
from twogrpo.config.schema import parse
from twogrpo.errors import ConfigError
from twogrpo.preflight import small_group_checks
from twogrpo.preflight.preflight import Preflight, PreflightConfig, preflight
from twogrpo.preflight.report import as_json, report
from twogrpo.preflight.small_group_checks import safety_rows
from twogrpo.preflight.time.devices import Calibration

PAPER = (
    "experiment=table1/math_qwen25_math_7b_two_grpo",
    "rollout=vllm",
    "hardware=eight_gpus",
    "reward=exact_answer",  # starts no grading processes
    "dataset.max_response_tokens=3072",
    "evaluation.max_response_tokens=3072",
)


def look(*overrides: str) -> Preflight:
    return preflight(parse(compose_config(*overrides, name="preflight"), PreflightConfig))


def paper(*overrides: str) -> list[str]:
    return paper_column(parse(compose_config(*overrides, name="preflight"), PreflightConfig))


def line(text: str, beginning: str) -> str:
    (found,) = [line for line in text.splitlines() if line.strip().startswith(beginning)]
    return " ".join(found.split())


def test_the_paper_s_row_stands_beside_the_run_s():
    text = report(look(*PAPER))
    assert line(text, "prompts a mini-batch") == "prompts a mini-batch 256 256"
    assert line(text, "rollouts in all") == "rollouts in all 149,504 149,504"
    assert line(text, "learning rate") == "learning rate 8e-06 8e-06"


def test_the_paper_s_row_of_every_arm():
    """16 · 512 rollouts, 32 prompts, 16 updates; the ablation's G = 2 is not 2-GRPO."""
    assert paper("algorithm=grpo")[:5] == ["512", "8,192", "32", "512", "16"]
    assert paper("algorithm.group_size=2")[2:] == [
        "32",
        "64",
        "16",
        "146",
        "2,336",
        "149,504",
        "1e-06",
    ]
    assert paper("algorithm=two_grpo")[2:] == ["256", "512", "2", "146", "292", "149,504", "8e-06"]
    resampled = paper("algorithm=two_grpo_rs")
    assert resampled == [*paper("algorithm=two_grpo")[:7], "at most 1,196,032", "8e-06"]


@pytest.mark.parametrize("name", ["dpo", "dapo", "rloo", "gspo", "dr_grpo", "ctr_grpo"])
def test_the_paper_has_no_row_for_other_algorithms(name):
    """Nor for other group sizes of its own, or its 2-GRPO+RS with other redraws."""
    assert paper(f"algorithm={name}") == paper("algorithm.group_size=3") == ["–"] * 9
    assert paper("algorithm=two_grpo", "algorithm.group_size=4") == ["–"] * 9
    assert paper("algorithm=two_grpo_rs", "algorithm.resampling=same_prompt") == ["–"] * 9


def test_seeds_that_leave_the_rollout_out_are_told(monkeypatch):
    """A pair of one seed is twice the same response, dead for ever."""
    config = parse(compose_config("algorithm=two_grpo", name="preflight"), PreflightConfig)
    monkeypatch.setattr(
        small_group_checks, "rollout_seed", lambda run, draw, prompt, index: run + draw
    )
    ((mark, *_),) = [row for row in safety_rows(config) if row[1] == "seeds"]
    assert mark == "✗"


def test_small_groups():
    def marks(*overrides: str) -> dict[str, str]:
        config = parse(compose_config(*overrides, name="preflight"), PreflightConfig)
        return {name: mark for mark, name, _ in safety_rows(config)}

    assert set(marks("algorithm=two_grpo").values()) == {"✓"}
    sample = marks("algorithm.advantage=standardised_sample")
    assert (sample["a mixed pair"], sample["an equal pair"]) == ("!", "✓")
    assert marks("algorithm.importance_sampling_cap=2")["corrections"] == "!"
    assert marks("hardware=four_gpus", "training.prompts_per_step=130")["ranks"] == "!"


def test_memory_decides_the_exit_code():
    assert look(*PAPER).exit_code == 1  # contamination was not looked up
    alone = look(*PAPER, "hardware=one_gpu", "device=a100_80")
    assert alone.exit_code == 2
    assert "✗ memory: does not fit" in report(alone)


def test_a_device_of_one_s_own():
    small = look(*PAPER, "device.memory_gib=30", "device.name=mine")
    assert line(report(small), "✗  mine").startswith("✗ mine does not fit")


def test_a_changed_device_stands_beside_the_one_that_it_was():
    found = look(*PAPER, "device.memory_gib=48")
    text = report(found)
    assert " of 48;" in line(text, "✓  own (48 GiB)")
    assert " of 139.8" in line(text, "✓  h200_141")
    assert as_json(found)["memory"]["devices"]["own (48 GiB)"] == "fits"
    assert "own (" not in report(look(*PAPER, "device=a100_80"))


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("device.memory_gib=48", "device.memory_gib=48.0"),
        ("device=a100_80", "device=a100_80"),
        ("device.name=mine", "device.name=mine"),
    ],
)
def test_a_gpu_is_not_described_to_a_plan_for_a_cpu(typed, told):
    with pytest.raises(ConfigError, match=rf"^{told} describes a GPU.*: add hardware=one_gpu"):
        look(typed)


def test_a_cpu_of_one_s_own():
    found = look("device=cpu", "device.memory_gib=0.5")
    assert (found.device.name, found.device.memory_gib) == ("own (0.5 GiB)", 0.5)
    assert found.exit_code == 2


def test_hours_are_of_the_ceiling_s_dtype(tmp_path):
    def ceilings(*overrides: str) -> list[str]:
        return [f.text for f in look(*overrides).findings if f.name == "ceilings"]

    assert ceilings() == ceilings(*PAPER) == []
    (told,) = ceilings("hardware.num_threads=2", "hardware.dtype=bfloat16")
    assert told.startswith(
        "hardware.dtype=bfloat16 hardware.num_threads=2, but the ceilings of cpu"
    )
    (told,) = ceilings(*PAPER, "hardware.dtype=float32")
    assert "of h200_141 are of bfloat16" in told
    assert ceilings(*PAPER, "hardware.dtype=float32", "device.matmul_flops=5e14") == []
    file = tmp_path / "calibration.json"
    measured = Calibration(
        "cpu, 2 threads", "tiny", "float32", "2026-11-23", 1e11, 1e10, 0.5, 0.3, 1e-3, 1e-3, 1e-2
    )
    measured.write(file)
    assert ceilings("hardware.num_threads=2", f"calibration={file}") == []


def test_the_help_page_s_examples_plan_something():
    """All but the last, which is a check."""
    help_page = (ROOT / "conf/preflight.yaml").read_text()
    examples = [
        example.split("preflight.py ")[1].split()
        for example in help_page.splitlines()
        if "  python scripts/preflight.py" in example and "check=" not in example
    ]
    assert len(examples) == 3
    for example in examples:
        assert look(*example, "reward=exact_answer").arms


def test_price_is_shown_where_it_is_known():
    assert "price" not in report(look(*PAPER))
    found = look(*PAPER, "price_per_gpu_hour=2")
    data = as_json(found)["arms"]["two_grpo"]
    assert data["price"] == pytest.approx(2 * 8 * data["hours"])
    assert line(report(found), "2-GRPO ←").endswith(f"{data['price']:.2f}")


def test_a_probe_replaces_the_assumption(tmp_path):
    probe = tmp_path / "probe.json"
    probe.write_text(json.dumps({"a": [4, 8], "b": [8, 8]}))
    found = look(*PAPER, f"probe={probe}")
    assert found.arms["two_grpo"][0].trained_share == pytest.approx(2 / 7)
    assert "28.6% ± 28.6%" in line(report(found), "2 ←")
    # 3.5 draws a kept group, all of them trained on; 16-GRPO through the fit.
    work = found.arms["two_grpo_rs"][0]
    assert (work.draws, work.trained_share) == (pytest.approx(3.5), pytest.approx(1))


def test_what_to_do_without_a_probe_can_be_done():
    """The hint's key is one of the script that it names."""
    text = " ".join(report(look(*PAPER)).split())
    assert "scripts/benchmark.py probe=probe.json" in text
    config = parse(compose_config(*PAPER, "probe=probe.json", name="benchmark"), BenchmarkConfig)
    assert (config.probe_samples, config.probe_prompts) == (8, 100)
    assert "8 times each on 100 training prompts" in text


def test_resampling_stops_at_its_budget(tmp_path):
    probe = tmp_path / "probe.json"
    probe.write_text(json.dumps({str(i): [8 - (i == 0), 8] for i in range(10)}))
    work = look(*PAPER, f"probe={probe}").arms["two_grpo_rs"][0]
    assert work.draws == 8  # 16 rollouts a prompt, in pairs
    assert work.trained_share == pytest.approx(8 * 0.025)  # 7 of 28 pairs of one prompt in ten


def test_the_embedded_run_is_planned_for_the_cpu():
    found = look("algorithm=two_grpo")
    assert found.device.name == "cpu"
    assert found.exit_code == 0
    assert [name for name, _ in found.arms.items()] == ["two_grpo", "grpo", "two_grpo_rs"]


@pytest.mark.parametrize(
    ("overrides", "key", "label"),
    [
        (["experiment=table4/math_qwen25_math_1_5b_g2"], "grpo_g2", "grpo, G = 2 ←"),
        (["algorithm=two_grpo", "algorithm.group_size=4"], "two_grpo_g4", "two_grpo, G = 4 ←"),
        (["algorithm=dapo"], "dapo_g16", "dapo, G = 16 ←"),
        (["algorithm=two_grpo", "algorithm.advantage=centred"], "two_grpo_g2", "two_grpo, G = 2 ←"),
    ],
)
def test_a_run_that_is_no_arm_of_the_paper_has_a_name_of_its_own(overrides, key, label):
    """And is compared with them: the last column is its share of 16-GRPO's time."""
    found = look(*overrides, "reward=exact_answer")
    data = as_json(found)
    assert [*data["arms"]] == [key, "grpo", "two_grpo", "two_grpo_rs"] and data["arm"] == key
    assert found.arms["grpo"][0].group_size == 16 and found.arms["two_grpo"][0].group_size == 2
    text = report(found)
    own, sixteen = line(text, label), line(text, "16-GRPO")
    assert sixteen.endswith("100.0%") and not own.endswith("100.0%")
    assert found.arms[key][0].group_size == found.config.algorithm.group_size
    share = data["arms"][key]["hours"] / data["arms"]["grpo"]["hours"]
    assert own.endswith(f"{share:.1%}")


def test_the_longest_sequences_that_the_cache_has_room_for():
    """0.5 · 139.8 GiB − 14.19 of weights − 4 = 51.7 GiB; / 57,344 B a token = 968 k tokens;
    / (1,024 + 3,072) = 236. The engine takes 100 at most in the second plan."""
    assert "1,024 sequences of mean length at a time, 236 of the longest" in report(look(*PAPER))
    few = report(look(*PAPER, "hardware.rollouts_per_call=100"))
    assert "decodes 100 sequences of mean length at a time, 100 of the longest" in few


EXPERIMENTS = sorted(
    file.relative_to(ROOT / "conf/experiment").with_suffix("").as_posix()
    for file in (ROOT / "conf/experiment").rglob("*.yaml")
)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_can_be_planned(name):
    found = look(f"experiment={name}", "reward=exact_answer")
    assert found.arms["grpo"][1].hours > 0
    assert json.loads(json.dumps(as_json(found)))["arms"].keys() == found.arms.keys()
    assert report(found).endswith(f"(exit code {found.exit_code})")


def test_an_arm_whose_batches_do_not_divide_is_shown_as_that():
    """2-GRPO's mini-batch would be 8 × 2 prompts of the 4 of a step."""
    found = look("experiment=smoke/smollm2_two_steps", "reward=exact_answer")
    assert list(found.arms) == ["grpo"]
    text = report(found)
    assert line(text, "2-GRPO+RS").split() == ["2-GRPO+RS", *["–"] * 9]
    assert "do not divide" in text
    assert "–:" not in report(look("algorithm=two_grpo"))


def test_bad_values_are_named():
    with pytest.raises(ConfigError, match=r"device\.memory_gib=0"):
        look(*PAPER, "device.memory_gib=0")


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


def test_the_script_prints_one_line_of_json(shell):
    code, output = shell(*PAPER, "json=true")
    (only,) = output.strip().splitlines()
    data = json.loads(only)
    assert data["exit_code"] == code == 1
    assert data["batches"]["updates in all"] == "292"
    assert data["memory"]["devices"]["h200_141"] == "fits"


def test_the_script_s_bad_input_is_one_line(shell):
    code, output = shell("device=h300")
    assert code == 2
    assert "device=h300 is unknown" in output
    code, output = shell("probe=nowhere.json")
    assert (code, len(output.strip().splitlines())) == (2, 1)


@pytest.mark.parametrize(
    "typed",
    [
        "training.prompts_per_minibatch=0",
        "training.prompts_per_minibatch=7",
        "training.prompts_per_step=0",
        "training.checkpoint_every=0",
        "algorithm.group_size=0",
        "evaluation.num_samples=0",
        "hardware.tensor_parallel_size=0",
        *(f"mean_response_tokens={value}" for value in (0, -5, "nan", 99_999)),
        *(f"mean_prompt_tokens={value}" for value in (0, -5, "nan", 99_999)),
        *(f"price_per_gpu_hour={value}" for value in (-1, "nan", "inf")),
    ],
)
def test_a_bad_value_is_one_line_before_anything_is_computed(shell, typed):
    code, output = shell(*PAPER, typed)
    assert (code, len(output.strip().splitlines())) == (2, 1)
    key, _, value = typed.partition("=")
    assert f"{key}={value}" in output.replace(".0 ", " ")


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
