"""The GPU suite: its record of jobs that pass, fail, hang or lack something, its commands, and its
own measuring on a CPU."""

import json
from argparse import Namespace
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from benchmarks import gpu_jobs, gpu_suite
from benchmarks.gpu_jobs import JOBS, Job, MissingError
from benchmarks.gpu_models import TINY, configured, with_weights
from benchmarks.gpu_update import build, flops, measure, rollouts
from benchmarks.throughput.config import BenchmarkConfig
from benchmarks.throughput.flops import forward_flops
from tests.conftest import compose_config, tiny_model
from tests.test_reproduce import planned as planned_jobs
from twogrpo.config.schema import Config, parse
from twogrpo.config.validation import check
from twogrpo.distributed.process_group import SINGLE_PROCESS

SLEEPS = "import time; time.sleep(99)"
HANGS = (
    f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {SLEEPS!r}])"
    "; print(p.pid, flush=True); p.wait()"
)


def lacking(_: Namespace) -> list[list[str]]:
    raise MissingError("no such package")


@pytest.fixture
def given(tmp_path) -> Namespace:
    return gpu_suite.arguments(["--out", str(tmp_path / "out")])


def test_each_job_is_recorded_and_none_stops_the_next(monkeypatch, tmp_path, capsys):
    programs = {
        "fails": "import sys; print('{\"half\": 1}'); sys.exit('a broken kernel')",
        "hangs": HANGS,
        "passes": f"print({str(Path(__file__).resolve())!r}); print('{{\"speed\": 3}}')",
    }
    limits = {"fails": 20, "hangs": 4, "passes": 20}
    fakes = {
        name: Job(name, limits[name], lambda _, program=program: [["-c", program]])
        for name, program in programs.items()
    }
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu_suite, "JOBS", {"lacks": Job("lacks", 9, lacking), **fakes})
    out = str(tmp_path)
    assert gpu_suite.main(["lacks", "fails", "hangs", "--out", out]) == 1
    assert gpu_suite.main(["passes", "--out", out]) == 0
    found = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in gpu_suite.JOBS}
    [failed], [hung], [passed] = (found[n]["processes"] for n in ("fails", "hangs", "passes"))
    assert (failed["exit_code"], failed["found"]) == (1, None)
    assert "a broken kernel" in failed["messages"]
    assert hung["exit_code"] is None
    child = Path("/proc") / hung["messages"].strip() / "stat"
    assert not child.exists() or child.read_text().split()[2] == "Z"
    assert passed["found"] == {"speed": 3}
    assert passed["messages"].splitlines()[0] == "tests/benchmarks/test_gpu_suite.py"
    assert found["passes"]["versions"]["torch"] == version("torch")
    summary = json.loads((tmp_path / "summary.json").read_text())
    statuses = {name: job["status"] for name, job in summary["jobs"].items()}
    expected = {"lacks": "skipped", "fails": "failed", "hangs": "timed out", "passes": "passed"}
    assert statuses == {name: found[name]["status"] for name in found} == expected
    assert "lacks: skipped no such package" in capsys.readouterr().out


def test_a_real_job_runs_from_end_to_end_and_an_unknown_one_is_refused(tmp_path):
    assert gpu_suite.main(["logits", "--device", "cpu", "--tiny", "--out", str(tmp_path)]) == 0
    [process] = json.loads((tmp_path / "logits.json").read_text())["processes"]
    whole, chunked = process["found"]["cases"]
    assert whole["logits_bytes"] == chunked["logits_bytes"] == 4 * 64 * 1000
    assert whole["seconds"] > 0
    with pytest.raises(SystemExit):
        gpu_suite.arguments(["smolm2"])


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_the_smollm2_job_takes_steps_of_both_arms(given, device, monkeypatch, tmp_path):
    """On the experiment of the real model with the plain sampler."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    given.device, given.smollm2 = device, tmp_path
    monkeypatch.setattr(gpu_jobs, "with_weights", lambda folder, scratch: folder)
    (tmp_path / "tokenizer.json").touch()
    sizes, workloads = [], []
    for _, *overrides in JOBS["smollm2"].commands(given):
        config = parse(compose_config(*overrides, name="benchmark"), BenchmarkConfig)
        check(config)
        assert config.rollout.engine == "transformers" and config.model.path == str(tmp_path)
        assert (config.hardware.device, config.hardware.dtype) == (device, "bfloat16")
        sizes.append(config.algorithm.group_size)
        workloads.append(config.workload)
    assert sizes == [16, 2, 16, 2]
    assert workloads == ["repeated"] * 2 + ["max_length"] * 2


def test_the_tiny_job_is_the_complete_comparison_on_the_gpu(given, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    [[_, *overrides]] = JOBS["tiny"].commands(given)
    planned = planned_jobs(*overrides)
    assert len(planned) == 22
    for job in planned[:-1]:
        run = parse(compose_config(*job.command[2:]), Config)
        check(run)
        assert (run.hardware.device, run.hardware.dtype) == ("cuda", "float32")
        assert run.tracking.wandb_mode is None
    evaluated = compose_config(*planned[-1].command[2:], name="evaluate")
    assert evaluated.hardware.device == "cuda" and evaluated.tracking.wandb_mode is None


def test_a_missing_package_or_model_is_the_reason_of_a_skip(given, monkeypatch, tmp_path):
    monkeypatch.setattr(gpu_jobs, "find_spec", lambda name: None)
    monkeypatch.setattr(gpu_jobs, "PEER", tmp_path)
    given.smollm2 = tmp_path
    reasons = {"peer": "trl", "vllm": "vllm", "smollm2": "tokenizer"}
    for name, words in reasons.items():
        assert words in gpu_suite.do(name, given)["reason"]


def test_a_model_without_weights_gets_random_ones(tmp_path):
    bare, scratch = tmp_path / "bare", tmp_path / "scratch"
    tiny_model().config.save_pretrained(bare)
    assert with_weights(bare, scratch) == scratch
    assert with_weights(scratch, tmp_path / "other") == scratch
    assert (scratch / "model.safetensors").stat().st_size > 4 * 64 * 128


def test_rollouts_are_pairs_of_all_lengths_with_their_flops():
    found = rollouts(4, 512)
    assert [r.num_tokens for r in found[::3]] == [1024, 4096]
    assert [r.advantage for r in found] == [1, -1, 1, -1]
    assert found[0].prompt_token_ids == found[1].prompt_token_ids != found[2].prompt_token_ids
    # Alone on its prompt a rollout of 8 tokens attends to 8²/2 positions: passes and twice back.
    [one] = rollouts(1, 512, divisor=128)
    assert flops(TINY, [one]) == 3 * forward_flops(TINY, 8, 4)
    pair = rollouts(2, 512, divisor=128)  # of 8 and 32 tokens, 2 of them shared
    assert flops(TINY, pair) == pytest.approx(3 * forward_flops(TINY, 38, (32 + 512) / 38))


def test_an_update_is_measured_and_extrapolated():
    config = configured("hardware=cpu", "hardware.tokens_per_microbatch=64",
                        "hardware.logits_chunk_tokens=16")  # fmt: skip
    sequences = rollouts(2, TINY.vocabulary, divisor=64)
    policy = build(config, TINY, SINGLE_PROCESS)
    before = [parameter.clone() for parameter in policy.logprob_model.parameters()]
    chunked, whole = measure(policy, sequences, config, TINY, 1, 1e9)
    assert (chunked["logits_chunk_tokens"], whole["logits_chunk_tokens"]) == (16, 64)
    assert chunked["predicted_bytes"] < whole["predicted_bytes"]
    passes = chunked["update_seconds"]["median"] - chunked["adam_seconds"]
    far = chunked["extrapolated"]
    assert far["update_seconds"] == pytest.approx(chunked["adam_seconds"] + 256 * passes)
    share = flops(TINY, sequences) / passes / 1e9
    assert chunked["passes_share_of_matmul"] == pytest.approx(share)
    for old, parameter in zip(before, policy.logprob_model.parameters(), strict=True):
        torch.testing.assert_close(parameter, old, atol=1e-28, rtol=0)


def test_without_a_gpu_no_job_begins(monkeypatch, tmp_path, capsys):
    """The GPU tests would all be skipped, and the job would pass."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(gpu_suite, "do", lambda *_: pytest.fail("a job began"))
    assert gpu_suite.main(["tests", "--out", str(tmp_path / "out")]) == 2
    assert "--device cpu" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
