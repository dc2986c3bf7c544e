"""Scaling curves: exponents by hand, and points that vary one size alone."""

import csv
import json
import math
import re
import shlex
from argparse import Namespace
from pathlib import Path
from subprocess import check_output

import pytest
from transformers import AutoConfig, AutoModelForCausalLM

from benchmarks.throughput import sweep as sweeping
from benchmarks.throughput import sweep_points as pointing
from benchmarks.throughput.config import BenchmarkConfig
from benchmarks.throughput.sweep import check_points, exponent, fit, page, row_of
from benchmarks.throughput.sweep_points import SWEEPS, Point
from tests.conftest import ROOT, compose_config
from twogrpo.config.schema import parse
from twogrpo.errors import ConfigError


def test_exponents_by_hand():
    """3·x² exactly; and through (1, 1), (2, 2), (4, 16) the slope of 0, 1, 4 over 0, 1, 2 is 2."""
    assert exponent([1, 2, 4, 8], [3, 12, 48, 192]) == pytest.approx(2)
    assert exponent([1, 2, 4], [1, 2, 16]) == pytest.approx(2)
    assert exponent([10, 100], [7, 7]) == 0


@pytest.mark.parametrize(("sizes", "costs"), [([2, 2], [1, 2]), ([1, 2], [0, 1]), ([1], [1])])
def test_no_exponent_without_two_sizes_and_positive_costs(sizes, costs):
    with pytest.raises(ValueError, match="two different sizes"):
        exponent(sizes, costs)


def found(seconds: float) -> dict:
    return {
        "seconds": {"median": seconds, "min": 0, "max": 9},
        "seconds_of": {"generate": 1.0, "update": seconds / 2, "sync": 3.0},
        "rollouts_per_second": 5.0,
        "peak_memory": 2**30,
        "memory_of_steps": 2**29,
        "model": "tiny",
        "threads": 1,
        "machine": "an abacus",
        "date": "2026-11-23",
        "dtype": "float32",
        "group_size": 4,
        "prompts": 8,
        "max_response_tokens": 40,
    }


def test_a_curve_s_page_ends_with_its_exponents():
    curve = fit("prompts", [row_of(size, found(size**1.5)) for size in (2, 4, 8)])
    *text, last = page(curve, Path("runs/sweep.csv")).splitlines()
    assert "runs/sweep.csv" in text[-2]
    last = json.loads(last)
    assert last["sweep"] == "prompts"
    assert list(last["exponents"].values()) == [1.5, 0.0, 1.5, 0.0, 0.0]
    names = ["seconds", "seconds_generate", "seconds_update", "peak_memory_bytes"]
    assert list(last["exponents"]) == [*names, "memory_of_steps_bytes"]
    assert curve.rows[0]["memory_of_steps_bytes"] == 2**29


def test_the_steps_memory_grows_as_they_do_whatever_the_process_weighs():
    """64, 128 and 256 MiB on top of 1 GiB: k = 1, and hardly any of the peak. Where the steps added
    nothing to the process there is no exponent to give."""
    points = [
        (size, found(1.0) | {"peak_memory": 2**30 + size * 2**25, "memory_of_steps": size * 2**25})
        for size in (2, 4, 8)
    ]
    exponents = fit("prompts", [row_of(*point) for point in points]).exponents
    assert exponents["memory_of_steps_bytes"] == pytest.approx(1)
    assert 0 < exponents["peak_memory_bytes"] < 0.2
    points[0][1]["memory_of_steps"] = 0
    assert "memory_of_steps_bytes" not in fit("x", [row_of(*p) for p in points]).exponents


@pytest.fixture(autouse=True)
def hydra_at_work(monkeypatch):
    """As in the script, where a sweep finds Hydra at work on conf/."""
    monkeypatch.setattr(sweeping, "compose", lambda n, typed: compose_config(*typed, name=n))


@pytest.mark.parametrize("name", SWEEPS)
def test_every_point_would_run(name, benchmark_config, typed, monkeypatch):
    monkeypatch.setattr(pointing, "VOCABULARIES", (50, 100))
    with SWEEPS[name](benchmark_config()) as points:
        check_points(name, points, typed)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["sweep=group_size", "algorithm=two_grpo_rs", "algorithm.minibatch_scale=1"],
         r"sweep=group_size at 16: algorithm.resampling_budget_group_size=16 .* use 32 "),
        (["sweep=prompts", "training.prompts_per_step=128", "dataset=digit_arithmetic"],
         r"sweep=prompts at 1024: training.prompts_per_step=1024: .* or fewer$"),
        (["sweep=prompts", "dataset.num_prompts=9"],
         r"sweep=prompts at 16: training.epochs=1 × dataset.num_prompts=9 is less"),
    ],
)  # fmt: skip
def test_a_point_that_would_not_run_is_told_before_any_is_measured(
    overrides, told, benchmark_config, typed, monkeypatch, tmp_path
):
    monkeypatch.setattr(sweeping, "_run", lambda *_: pytest.fail("was measured"))
    config = benchmark_config(*overrides, f"results_dir={tmp_path}")
    with pytest.raises(ConfigError, match=f"^{told}"):
        sweeping.sweep(config, [*typed, *overrides])
    assert not list(tmp_path.iterdir())


def test_a_point_that_fails_costs_no_other(benchmark_config, typed, monkeypatch, tmp_path):
    """The third of six has no memory; another algorithm has a file of its own."""

    def runs(point, _):
        if point.size == 8:
            raise ConfigError("the point 8 does not run")
        return found(point.size)

    monkeypatch.setattr(sweeping, "_run", runs)
    config = benchmark_config("sweep=group_size", "algorithm=dr_grpo", f"results_dir={tmp_path}")
    with pytest.raises(ConfigError, match="the point 8 does not run"):
        sweeping.sweep(config, typed)
    (file,) = tmp_path.iterdir()
    assert file.name == "sweep_group_size_tiny_dr_grpo.csv"
    with file.open() as lines:
        assert [row["size"] for row in csv.DictReader(lines)] == ["2", "4"]


def test_where_nothing_can_be_written_nothing_is_measured(benchmark_config, monkeypatch, tmp_path):
    monkeypatch.setattr(sweeping, "_run", lambda *_: pytest.fail("was measured"))
    (tmp_path / "file").touch()
    config = benchmark_config("sweep=ranks", f"results_dir={tmp_path / 'file'}")
    with pytest.raises(ConfigError, match=r"^results_dir=.*/file cannot be made .*: give another$"):
        sweeping.sweep(config, [])


def test_a_sweep_is_begun_by_one_process(benchmark_config, monkeypatch):
    monkeypatch.setattr(sweeping, "_run", lambda *_: pytest.fail("was measured"))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"sweep=ranks starts as one process: .* python instead"):
        sweeping.sweep(benchmark_config("sweep=ranks"), [])


def test_rollouts_are_constant_where_they_are_said_to_be(benchmark_config):
    given = ["training=cpu", "training.prompts_per_step=128", "algorithm.group_size=16"]
    config = benchmark_config(*given)
    with SWEEPS["constant_rollouts"](config) as points:
        for point in points:
            varied = benchmark_config("training=cpu", *point.overrides)
            assert varied.algorithm.group_size == point.size
            assert varied.training.prompts_per_step * point.size == 2048
            assert varied.rollouts_per_minibatch == config.rollouts_per_minibatch
        assert [point.size for point in points][-1] >= 16


def test_a_vocabulary_s_model_has_the_shape_of_the_other(benchmark_config, monkeypatch):
    monkeypatch.setattr(pointing, "VOCABULARIES", (50, 100))
    with SWEEPS["vocabulary"](benchmark_config()) as points:
        for point in points:
            (override,) = point.overrides
            model = AutoModelForCausalLM.from_pretrained(override.partition("=")[2])
            assert model.lm_head.weight.shape == (point.size, 64)


def test_a_sweep_runs_its_points_and_keeps_its_csv(benchmark_config, monkeypatch, tmp_path):
    asked = []

    def point_runs(point, arguments):
        asked.append((point.size, list(arguments)))
        return found(point.size)

    monkeypatch.setattr(sweeping, "_run", point_runs)
    config = benchmark_config("sweep=ranks", f"results_dir={tmp_path}")
    monkeypatch.setattr(sweeping, "measured_commit", lambda: "0123abc")
    typed = ["seed=3", "sweep=ranks", "evaluation.benchmarks=[longer]"]
    sweeping.sweep(config, typed)
    assert asked == [(1, typed), (2, typed)]
    with (tmp_path / "sweep_ranks_tiny.csv").open() as file:
        first, second = csv.DictReader(file)
    assert list(first)[:4] == ["size", "prompts", "group_size", "max_response_tokens"]
    assert [second[key] for key in list(first)[:5]] == ["2", "8", "4", "40", "2"]
    about = {"model": "tiny", "dtype": "float32", "threads": "1", "machine": "an abacus"}
    about |= {"date": "2026-11-23", "commit": "0123abc"}
    assert about.items() <= second.items()
    assert shlex.split(first["arguments"]) == typed


@pytest.mark.parametrize("word", ["sweep=prompts", "++sweep=prompts", "+sweep=prompts"])
def test_a_point_sweeps_nothing(word, benchmark_config, monkeypatch):
    """However the sweep was asked for; nor does it print a page or do less than its utmost."""
    commands = list[list[str]]()

    def runs(command, **_):
        commands.append(command)
        return Namespace(returncode=0, stdout=json.dumps(found(1.0)))

    monkeypatch.setattr(sweeping.subprocess, "run", runs)
    point = Point(8, ("algorithm.group_size=8",))
    sweeping._run(point, [word, "work=same", "++json=false", "algorithm.group_size=4"])
    ((_, script, *overrides),) = commands
    config = benchmark_config(*overrides)
    assert script == "scripts/benchmark.py"
    assert (config.sweep, config.work, config.json) == (None, "full", True)
    assert config.algorithm.group_size == 8


def test_no_sweep_calibrates_at_every_point(benchmark_config, monkeypatch):
    monkeypatch.setattr(sweeping, "_run", lambda *_: pytest.fail("was measured"))
    with pytest.raises(ConfigError, match="calibrate=x beside sweep=prompts"):
        sweeping.sweep(benchmark_config("sweep=prompts", "calibrate=x"), [])


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="a copy without its history")
def test_the_commit_is_git_s():
    head = check_output(["git", "rev-parse", "HEAD"], cwd=ROOT, text=True)
    told = re.fullmatch("([0-9a-f]{12})(-dirty)?", sweeping.measured_commit())
    assert told and head.startswith(told[1])


def test_no_vocabulary_is_smaller_than_the_tokenizer_s(benchmark_config, tokenizer, monkeypatch):
    """Whose tokens the prompts hold: SmolLM2's 49,152 leave two of the four."""
    least = len(tokenizer)
    monkeypatch.setattr(pointing, "VOCABULARIES", (least // 2, least - 1, least + 5))
    with SWEEPS["vocabulary"](benchmark_config()) as points:
        assert [point.size for point in points] == [least, least + 5]


def test_the_longest_response_fits_into_the_context_of_its_curve(benchmark_config):
    """The embedded model's own has 64 positions."""
    config = benchmark_config()
    with SWEEPS["response_tokens"](config) as points:
        paths = {point.overrides[0].removeprefix("model.path=") for point in points}
        (shape,) = map(AutoConfig.from_pretrained, paths)
    assert points[-1].size == 256
    assert shape.max_position_embeddings == config.dataset.max_prompt_tokens + 256


def test_fewer_than_two_sizes_are_told_before_any_is_measured(benchmark_config, monkeypatch):
    monkeypatch.setattr(sweeping, "_run", lambda *_: pytest.fail("was measured"))
    config = benchmark_config(
        "sweep=constant_rollouts", "algorithm.group_size=3", "training.prompts_per_step=2",
        "training.prompts_per_minibatch=1",
    )  # fmt: skip
    with pytest.raises(ConfigError, match="sweep=constant_rollouts has 0 sizes here: make"):
        sweeping.sweep(config, [])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["prompts", "ranks"])
def test_a_real_sweep_of_two_points(name, tmp_path, monkeypatch, capfd):
    """The tiny model in processes of their own; a point of `ranks` is two."""
    monkeypatch.setattr(pointing, "PROMPT_FACTORS", (1, 2))
    given = [
        f"sweep={name}", f"results_dir={tmp_path}", "algorithm=grpo", "algorithm.group_size=2",
        "training.prompts_per_step=4", "training.prompts_per_minibatch=4",
        "dataset.max_response_tokens=4", "warmup_steps=0", "steps=1",
    ]  # fmt: skip
    config = parse(compose_config(*given, name="benchmark"), BenchmarkConfig)
    last = json.loads(sweeping.sweep(config, given).splitlines()[-1])
    assert last["sweep"] == name and all(map(math.isfinite, last["exponents"].values()))
    with (tmp_path / f"sweep_{name}_tiny.csv").open() as file:
        first, second = csv.DictReader(file)
    assert float(second["size"]) == 2 * float(first["size"])
    assert float(second["seconds"]) > 0 and second["machine"] and second["model"] == "tiny"


def test_an_unknown_sweep_is_told(benchmark_config):
    with pytest.raises(ConfigError, match="sweep=moon is unknown: use one of group_size"):
        sweeping.sweep(benchmark_config("sweep=moon"), [])
