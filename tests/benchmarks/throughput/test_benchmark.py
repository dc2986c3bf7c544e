"""A benchmark of a tiny model, from its configuration to its line of JSON."""

import copy
import json
import mmap
import os
import re
from argparse import Namespace
from dataclasses import asdict

import pytest
import torch

from benchmarks.throughput import calibrate as calibrating
from benchmarks.throughput import fixed_workload as working
from benchmarks.throughput import hardware_ceilings
from benchmarks.throughput.benchmark import bench
from benchmarks.throughput.fixed_workload import Endless
from benchmarks.throughput.step_timing import measure, open_run, take_step
from benchmarks.throughput.throughput import Ceilings, Result
from tests.conftest import EvenSum
from twogrpo.errors import ConfigError
from twogrpo.preflight.model_shapes import architecture_of
from twogrpo.preflight.time.devices import load_device, read_calibration


@pytest.fixture(autouse=True)
def small_machine(monkeypatch):
    """Ceilings of small matrices: what they are is not asked here."""
    monkeypatch.setitem(hardware_ceilings.MATRIX_SIZE, "cpu", 64)
    monkeypatch.setitem(hardware_ceilings.COPY_BYTES, "cpu", 2**16)


def test_a_benchmark_ends_with_its_numbers_as_json(benchmark_config):
    told = bench(benchmark_config("work=full"))
    *page, last = told.text.splitlines()
    found = json.loads(last)
    assert found == told.data
    assert asdict(told.result).items() <= found.items()
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


def test_json_alone(benchmark_config):
    told = bench(benchmark_config("json=true"))
    assert json.loads(told.text) == told.data


def test_every_step_is_the_same_work_and_moves_no_weight(benchmark_config):
    config = benchmark_config("work=same")
    with open_run(config) as (run, watched):
        before = {name: tensor.clone() for name, tensor in run.policy.weights()}
        run.collector.reward = EvenSum()  # groups are mixed by the model's own draws
        steps = [step for _ in range(2) for step in measure(run, watched, config).steps]
        for name, tensor in run.policy.weights():
            assert torch.allclose(tensor, before[name], rtol=0, atol=1e-28), name
        assert run.policy.num_updates == 2 * 3 * 2
    assert len({(step.calls, step.tokens_trained) for step in steps}) == 1
    assert steps[0].rollouts_trained > 0


def test_fresh_draws_are_others_to_the_same_prompts(benchmark_config):
    config = benchmark_config("work=fresh", "steps=3", "dataset.max_response_tokens=12")
    with open_run(config) as (run, watched):
        found = measure(run, watched, config)
    assert len({step.calls for step in found.steps}) == 3


@pytest.mark.parametrize("work", ["same", "fresh"])
def test_the_prompts_counted_are_those_that_were_asked(work, benchmark_config):
    """Of a data set with more than a step has: the same each time, or others."""
    config = benchmark_config(f"work={work}", "dataset.num_prompts=24", "warmup_steps=0")
    with open_run(config) as (run, watched):
        found = measure(run, watched, config)
        run.collector.stream.position = 0
        asked = [
            [len(draw.prompt.token_ids) for draw in run.collector.stream.next(4)] for _ in range(2)
        ]
    assert asked[0] != asked[1]
    first, second = (step.prompt_lengths for step in found.steps)
    assert (first, second) == (asked[0], asked[work == "fresh"])


def test_both_dtypes_have_their_ceiling(benchmark_config, monkeypatch):
    """The transformers sampler has a dtype of its own, too."""
    flops = {torch.float32: 3e9, torch.bfloat16: 5e9}
    monkeypatch.setattr(hardware_ceilings, "matmul_flops", lambda device, dtype: flops[dtype])
    told = bench(benchmark_config("hardware.sampler_dtype=bfloat16"))
    ceilings = told.data["ceilings"]
    assert (ceilings["matmul_flops"], ceilings["sampler_matmul_flops"]) == (3e9, 5e9)
    assert told.data["sampler_dtype"] == "bfloat16" and "samples in bfloat16" in told.text
    sampling = told.result.generating
    assert sampling.share_of_matmul == pytest.approx(sampling.flops / 5e9)


def test_full_work_that_was_not_is_told(benchmark_config, monkeypatch, capsys):
    """As where vLLM draws the token that stands for the end: here the tokenizer's own one ends."""
    config = benchmark_config("work=full", "json=true", "dataset.max_response_tokens=12")
    bench(config)
    assert "work=full" not in capsys.readouterr().err
    monkeypatch.setattr(working, "Endless", lambda tokenizer, engine: tokenizer)
    bench(config)
    told = re.search(r"^work=full: (\d+) of 32 responses ended before", capsys.readouterr().err)
    assert told and 0 < int(told[1]) < 32


def test_resampling_starts_each_step_anew(benchmark_config):
    config = benchmark_config("algorithm=two_grpo_rs", "algorithm.group_size=2",
                              "algorithm.minibatch_scale=1")  # fmt: skip
    with open_run(config) as (run, watched):
        first = take_step(run, watched, "cpu")
        run.collector.stream.position = 0
        second = take_step(run, watched, "cpu")
    assert first.calls == second.calls
    assert first.rollouts >= 8


def test_the_canary_s_responses_are_not_counted(benchmark_config):
    config = benchmark_config("work=full", "rollout.canary_prompts=2")
    with open_run(config) as (run, watched):
        (call,) = take_step(run, watched, "cpu").calls
    assert call.lengths_PG == ((6,) * 4,) * 4


def test_a_calibration_is_what_the_planner_reads(benchmark_config, tmp_path):
    file = tmp_path / "machine.json"
    told = bench(benchmark_config("work=full", f"calibrate={file}"))
    calibration = read_calibration(file)
    assert calibration.matmul_flops == told.data["ceilings"]["matmul_flops"]
    assert calibration.apply(load_device("cpu")).update_efficiency == calibration.update_efficiency
    found = (calibration.device, calibration.model, calibration.dtype)
    assert found == ("cpu, 1 threads", "tiny", "float32")
    phases = ("generate", "old_logps", "update")
    others = sum(v for name, v in told.result.seconds_of.items() if name not in phases)
    assert 0 < calibration.overhead_seconds < others


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["work=all"], "work=all is unknown: use one of same, fresh, full"),
        (["steps=0"], "steps=0 is too small"),
        (["work=full", "algorithm.group_size=3"], "algorithm.group_size=3 is odd"),
        (["sweep=prompts", "calibrate=x"], "calibrate=x beside sweep=prompts"),
        (["calibrate=nowhere/x.json"], "calibrate=nowhere/x.json: there is no folder nowhere"),
        (["calibrate=/"], "calibrate=/ is a folder: give a file"),
        (["probe=/"], "probe=/ is a folder: give a file"),
        (["probe=x", "calibrate=y"], "calibrate=y beside probe=x: do one after the other"),
        (["probe_samples=1"], "probe_samples=1 is too small"),
    ],
)
def test_a_mistake_is_told_with_its_key(benchmark_config, overrides, words):
    with pytest.raises(ConfigError, match=words), open_run(benchmark_config(*overrides)):
        pass


def test_a_decoding_step_is_timed_without_the_prefill(benchmark_config, monkeypatch):
    """A call of n tokens takes 9 s and one of 1 token 2 s: 7 s for n − 1 steps; Adam's step 5 s.
    The weights' reading (16 bytes a parameter-step at this ceiling) is taken off."""
    seconds = iter([9.0, 2.0, 5.0])
    called: list[int] = []

    def timed(work, device):
        before = len(watched.calls)
        work()
        called.extend(length for call in watched.calls[before:] for (length,) in call.lengths_PG)
        return next(seconds)

    monkeypatch.setattr(calibrating, "_median_seconds", timed)
    config = benchmark_config("work=full")
    model = architecture_of(config.model)
    with open_run(config) as (run, watched):
        ceilings = Ceilings(1e9, 1e9, 1e12)
        decode, update = calibrating.overheads(run, config, model, ceilings)
    steps, one = called
    assert (steps, one) == (8, 1)
    assert decode == pytest.approx(1.0 - 4 * model.active_parameters / 1e12)
    assert update == pytest.approx(5.0 - 28 * model.parameters / 1e12)


def test_a_gpu_is_planned_with_its_own_memory(monkeypatch):
    properties = Namespace(name="a GPU of 24", total_memory=24 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda: properties)
    found = calibrating.this_device("cuda")
    assert (found.name, found.memory_gib) == ("a GPU of 24", 24)
    assert calibrating.this_device("cpu") == load_device("cpu")


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


def test_memory_is_what_is_held_and_its_peak_stays():
    """256 MiB, mapped apart from the C library's heap; Linux counts to some hundreds of KiB."""
    slack = 2**24
    before, held = hardware_ceilings.memory_bytes("cpu"), mmap.mmap(-1, 2**28)
    for place in range(0, len(held), mmap.PAGESIZE):
        held[place] = 1
    with_it = hardware_ceilings.memory_bytes("cpu")
    assert with_it - before == pytest.approx(2**28, abs=slack)
    held.close()
    assert hardware_ceilings.memory_bytes("cpu") == pytest.approx(before, abs=slack)
    assert hardware_ceilings.peak_memory_bytes("cpu") > with_it - slack


@pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK), reason="Linux keeps the peak of the process"
)
def test_a_peak_before_the_steps_is_none_of_theirs(benchmark_config):
    """256 MiB, held and let go while the run is assembled."""
    config = benchmark_config("steps=1")
    with open_run(config) as (run, watched):
        held = mmap.mmap(-1, 2**28)
        for place in range(0, len(held), mmap.PAGESIZE):
            held[place] = 1
        held.close()
        found = measure(run, watched, config)
    assert 0 <= found.memory_of_steps < 2**27
    assert found.peak_memory - found.memory_at_start > 2**27


def test_an_endless_tokenizer_s_end_is_never_drawn_or_hardly(tokenizer):
    """vLLM takes no id outside of the vocabulary."""
    assert tokenizer.eos_token_id == 1 and tokenizer.pad_token_id == 0
    assert Endless(tokenizer, engine="transformers").eos_token_id == -1
    assert Endless(tokenizer, engine="vllm").eos_token_id == 0
    twin = copy.deepcopy(tokenizer)
    twin.pad_token_id = 1
    assert Endless(twin, engine="vllm").eos_token_id == len(twin) - 1
    assert Endless(tokenizer, engine="vllm").decode([5]) == tokenizer.decode([5])
