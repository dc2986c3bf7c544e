"""A benchmark of a tiny model, from its configuration to its line of JSON."""

import json
import mmap
import os
from dataclasses import asdict

import pytest
import torch

from benchmarks.throughput import hardware_ceilings
from benchmarks.throughput.benchmark import bench
from benchmarks.throughput.step_timing import measure, open_run, take_step
from benchmarks.throughput.throughput import Result
from tests.conftest import EvenSum
from twogrpo.errors import ConfigError
from twogrpo.preflight.hours import calibrated_hours, measured_on, read_calibration


@pytest.fixture(autouse=True)
def small_machine(monkeypatch):
    """Ceilings of small matrices; their values do not matter here."""
    monkeypatch.setitem(hardware_ceilings.MATRIX_SIZE, "cpu", 64)
    monkeypatch.setitem(hardware_ceilings.COPY_BYTES, "cpu", 2**16)


def test_a_benchmark_ends_with_its_numbers_as_json(benchmark_config):
    output = bench(benchmark_config("workload=max_length"))
    *page, last = output.text.splitlines()
    found = json.loads(last)
    assert found == output.data
    assert asdict(output.result).items() <= found.items()
    assert set(Result.__dataclass_fields__) | {"date", "model", "threads", "ceilings"} <= set(found)
    assert found["group_size"] == 4 and found["prompts"] == 4 and found["updates"] == 2
    assert found["is_same_work"] and found["trained_share"] == 1.0
    # 4 × 4 responses of 6 tokens, all of them trained on.
    seconds = found["seconds"]
    assert 96 / seconds["max"] <= found["tokens_generated_per_second"] <= 96 / seconds["min"]
    assert found["tokens_trained_per_second"] == found["tokens_generated_per_second"]
    # The median of two is their mean, so here the phases' add up.
    assert sum(found["seconds_of"].values()) == pytest.approx(seconds["median"])
    assert found["peak_memory"] >= found["memory_at_start"] > 2**20
    assert any(line.split()[:1] == ["generate"] for line in page)


def test_every_step_is_the_same_work_and_moves_no_weight(benchmark_config):
    config = benchmark_config("workload=repeated")
    with open_run(config) as (run, recorder):
        before = {name: tensor.clone() for name, tensor in run.policy.weights()}
        run.collector.reward = EvenSum()  # groups are mixed by the model's own draws
        steps = [step for _ in range(2) for step in measure(run, recorder, config).steps]
        for name, tensor in run.policy.weights():
            assert torch.allclose(tensor, before[name], rtol=0, atol=1e-28), name
        assert run.policy.num_updates == 2 * 3 * 2
    assert len({(step.calls, step.tokens_trained) for step in steps}) == 1
    assert steps[0].rollouts_trained > 0


@pytest.mark.parametrize("workload", ["repeated", "resampled"])
def test_the_prompts_counted_are_those_that_were_sampled(workload, benchmark_config):
    """A data set with more prompts than a step gives the same ones each time, or others."""
    config = benchmark_config(f"workload={workload}", "dataset.num_prompts=24", "warmup_steps=0")
    with open_run(config) as (run, recorder):
        found = measure(run, recorder, config)
        run.collector.stream.position = 0
        expected = [
            [len(draw.prompt.token_ids) for draw in run.collector.stream.next(4)] for _ in range(2)
        ]
    assert expected[0] != expected[1]
    first, second = (step.prompt_lengths for step in found.steps)
    assert (first, second) == (expected[0], expected[workload == "resampled"])


def test_each_dtype_has_its_own_ceiling(benchmark_config, monkeypatch):
    """The transformers sampler has a dtype of its own, too."""
    flops = {torch.float32: 3e9, torch.bfloat16: 5e9}
    monkeypatch.setattr(hardware_ceilings, "matmul_flops", lambda device, dtype: flops[dtype])
    output = bench(benchmark_config("hardware.sampler_dtype=bfloat16", "json=true"))
    assert json.loads(output.text) == output.data
    ceilings = output.data["ceilings"]
    assert (ceilings["matmul_flops"], ceilings["sampler_matmul_flops"]) == (3e9, 5e9)
    assert output.data["sampler_dtype"] == "bfloat16"
    sampling = output.result.generating
    assert sampling.share_of_matmul == pytest.approx(sampling.flops / 5e9)


def test_resampling_starts_again_in_each_step(benchmark_config):
    config = benchmark_config("algorithm=two_grpo_rs", "algorithm.group_size=2",
                              "algorithm.minibatch_scale=1")  # fmt: skip
    with open_run(config) as (run, recorder):
        first = take_step(run, recorder, "cpu")
        run.collector.stream.position = 0
        second = take_step(run, recorder, "cpu")
    assert first.calls == second.calls
    assert first.rollouts >= 8


def test_the_canary_s_responses_are_not_counted(benchmark_config):
    config = benchmark_config("workload=max_length", "sync_check.prompts=2")
    with open_run(config) as (run, recorder):
        (call,) = take_step(run, recorder, "cpu").calls
    assert call.lengths_PG == ((6,) * 4,) * 4


def test_a_calibration_is_what_preflight_reads(benchmark_config, tmp_path):
    """The hours are the medians of the phases times the steps of the same run."""
    file = tmp_path / "machine.json"
    config = benchmark_config("workload=max_length", f"calibrate={file}")
    output = bench(config)
    found = read_calibration(file)
    assert found.seconds == output.result.seconds_of
    assert found.measured_on == measured_on(config, "cpu", 1)
    hours = calibrated_hours(file, config, "cpu")
    steps = config.num_steps
    assert hours == pytest.approx(sum(output.result.seconds_of.values()) * steps / 3600)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["workload=all"], "workload=all"),
        (["steps=0"], "steps=0"),
        (["workload=max_length", "algorithm.group_size=3"], "algorithm.group_size=3 is odd"),
        (["calibrate=nowhere/x.json"], "calibrate=nowhere/x.json"),
        (["calibrate=/"], "calibrate=/ "),
    ],
)
def test_a_wrong_value_is_refused_with_its_key(benchmark_config, overrides, words):
    with pytest.raises(ConfigError, match=words), open_run(benchmark_config(*overrides)):
        pass


def test_ceilings_by_hand(monkeypatch):
    """In half a second 2 · 64³ operations of a product, and 2^16 bytes read and as many written."""
    did = list[object]()
    monkeypatch.setattr(
        hardware_ceilings, "_best_seconds", lambda work, _: did.append(work()) or 0.5
    )
    assert hardware_ceilings.matmul_flops("cpu", torch.bfloat16) == 4 * 64**3
    assert hardware_ceilings.copy_bytes_per_second("cpu") == 4 * 2**16
    product, copied = did
    assert (product.shape, product.dtype) == ((64, 64), torch.bfloat16)
    assert copied.numel() * copied.element_size() == 2**16 and copied.all()


@pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK), reason="Linux keeps the peak of the process"
)
def test_a_peak_before_the_steps_is_not_counted_as_theirs(benchmark_config):
    """256 MiB, held and released while the run is assembled; mapped apart from the heap."""
    config = benchmark_config("steps=1")
    with open_run(config) as (run, recorder):
        before, held = hardware_ceilings.memory_bytes("cpu"), mmap.mmap(-1, 2**28)
        for index in range(0, len(held), mmap.PAGESIZE):
            held[index] = 1
        during = hardware_ceilings.memory_bytes("cpu")
        held.close()
        assert during - before == pytest.approx(2**28, abs=2**24)
        assert hardware_ceilings.memory_bytes("cpu") == pytest.approx(before, abs=2**24)
        assert hardware_ceilings.peak_memory_bytes("cpu") > during - 2**24
        found = measure(run, recorder, config)
    assert 0 <= found.memory_of_steps < 2**27
    assert found.peak_memory - found.memory_at_start > 2**27
