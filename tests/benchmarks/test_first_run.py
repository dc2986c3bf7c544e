"""The first run on a GPU: its record of steps that pass, fail, hang or lack something, its
commands, and its own measuring on a CPU."""

import json
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import first_run
from benchmarks.gpu.first_run import SAID, STEPS, MissingError, Process, Step
from benchmarks.gpu.models import TINY, configured, save
from benchmarks.gpu.update import build, flops, measure, rollouts
from benchmarks.throughput import hardware_ceilings
from benchmarks.throughput.config import BenchmarkConfig
from benchmarks.throughput.flops import forward_flops
from tests.conftest import compose_config, fake_nvidia_smi, parse_config
from tests.outcomes import run_json
from tests.test_reproduce import planned as planned_jobs
from twogrpo.config.schema import Config, parse
from twogrpo.config.validation import check
from twogrpo.distributed.process_group import SINGLE_PROCESS
from twogrpo.models.load import load_model, load_processor

SLEEPS = "import time; time.sleep(99)"
HANGS = (
    f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {SLEEPS!r}])"
    '; print(\'{"child": %d}\\n{"chi\' % p.pid, flush=True); p.wait()'
)
SPEED = 'print(\'{"a": [{"speed": 3}]}\')'
PROGRAMS = {
    "fails": "import sys; print('{\"half\": 1}'); sys.exit('a broken kernel')",
    "hangs": HANGS,
    "passes": f"print({str(Path(__file__).resolve())!r}); {SPEED}",
}


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr(first_run, "has_gpu", lambda wish: False)


def lacking(*_) -> list[Process]:
    raise MissingError("no such package")


def running(program: str, seconds: int) -> Step:
    return Step("", seconds, lambda *_: [Process("it", ["-c", program], ["a.0.speed"])])


def test_each_step_is_recorded_and_none_stops_the_next(monkeypatch, tmp_path, capsys):
    limits = {"fails": 20, "hangs": 10, "passes": 20}
    fakes = {name: running(PROGRAMS[name], limit) for name, limit in limits.items()}
    monkeypatch.setattr(first_run, "STEPS", {"lacks": Step("", 9, lacking), **fakes})
    out = ["--out", str(tmp_path)]
    assert first_run.main(["--only", "lacks", "fails", "hangs", *out]) == 1
    assert first_run.main(["--only", "passes", *out]) == 0
    found = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in first_run.STEPS}
    [failed], [hung], [passed] = (found[n]["processes"] for n in ("fails", "hangs", "passes"))
    assert (failed["exit_code"], failed["found"]) == (1, {"half": 1})
    assert "a broken kernel" in failed["messages"]
    assert hung["exit_code"] is None
    child = Path(f"/proc/{hung['found']['child']}/stat")  # of the last whole line
    assert not child.exists() or child.read_text().split()[2] == "Z"
    assert passed["found"] == passed["shown"] == {"a.0.speed": 3}
    assert passed["messages"].splitlines()[0] == "tests/benchmarks/test_first_run.py"
    assert found["passes"]["versions"]["torch"] == version("torch")
    expected = {"lacks": "skipped", "fails": "failed", "hangs": "timed out", "passes": "passed"}
    assert {name: record["status"] for name, record in found.items()} == expected
    printed = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "lacks: skipped no such package" in printed
    assert printed[-1] == "passes it a.0.speed 3"
    table = [line.split()[:2] for line in printed[-6:-2]]
    assert table == [[name, status.split()[0]] for name, status in expected.items()]


def test_all_limits_together_are_half_an_hour(capsys):
    assert sum(step.limit_seconds for step in STEPS.values()) <= 1800
    assert first_run.main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == [*STEPS]
    with pytest.raises(SystemExit):
        first_run.main(["--only", "smolm2"])


def words_of(command: list[str]) -> list[str]:
    """What is typed after scripts/train.py, under torchrun as on a GPU."""
    assert "torch.distributed.run" in command
    broken_off = ("sigterm", "error")
    program = next(i for i, word in enumerate(command) if word in ("scripts/train.py", *broken_off))
    return command[program + 1 :]


def test_the_smollm2_step_trains_both_arms_and_at_both_sleep_levels(monkeypatch, tmp_path):
    monkeypatch.setattr(first_run, "find_spec", lambda name: True)
    monkeypatch.setattr(first_run, "_smollm2", lambda: tmp_path)
    cases = []
    for process in STEPS["smollm2"].processes("cuda", tmp_path):
        config = parse(compose_config(*words_of(process.command)), Config)
        check(config)
        assert (config.rollout.engine, config.hardware.device) == ("vllm", "cuda")
        assert config.model.path == str(tmp_path)
        assert config.output_dir == str(process.run) and config.num_steps == 3
        cases.append((config.algorithm.group_size, config.hardware.sleep_level, process.exit_code))
    assert cases == [(2, 2, 1), (2, 2, 0), (16, 1, 0), (16, 2, 0)]
    told, resumed, *_ = STEPS["smollm2"].processes("cuda", tmp_path)
    assert words_of(told.command) == words_of(resumed.command)  # the same run


def test_a_rank_fails_beside_another_only_where_two_gpus_are_visible(monkeypatch, tmp_path):
    monkeypatch.setattr(first_run, "find_spec", lambda name: True)
    monkeypatch.setattr(first_run, "_smollm2", lambda: tmp_path)
    few = STEPS["smollm2"].processes("cuda", tmp_path)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    *same, failing = STEPS["smollm2"].processes("cuda", tmp_path)
    assert same == few
    assert "--nproc-per-node=2" in failing.command and failing.exit_code == 1
    assert failing.words == f"KeyError: {'of the last rank'!r}"


@pytest.mark.vllm
@pytest.mark.slow
def test_a_run_told_to_end_while_the_sampler_sleeps_is_resumed_by_its_own_command(tmp_path):
    """On a CPU, where nothing sleeps."""
    told, resumed, _ = STEPS["smollm2"].processes("cpu", tmp_path)
    found = [first_run.run(process, 200) for process in (told, resumed)]
    assert [part["exit_code"] for part in found] == [143, 0], found
    assert [part["passed"] for part in found] == [True, True], found
    assert run_json(tmp_path / "two_grpo_2")["status"] == "finished"


def test_a_process_passes_with_its_exit_code_and_its_words_alone():
    def passed(program: str, **expected: object) -> bool:
        return first_run.run(Process("it", ["-c", program], **expected), 20)["passed"]

    assert passed("exit('ended by it')", exit_code=1, words="ended by")
    assert not passed("exit('a fault')", exit_code=1, words="ended by")
    assert not passed("print('ended by it')", exit_code=1, words="ended by")


def test_the_tiny_step_compares_two_arms_on_the_gpu(tmp_path):
    [process] = STEPS["tiny"].processes("cuda", tmp_path)
    *runs, evaluation = planned_jobs(*process.command[1:])
    assert len(runs) == 2
    for job in runs:
        run = parse(compose_config(*words_of(job.command)), Config)
        check(run)
        assert (run.hardware.device, run.hardware.dtype) == ("cuda", "float32")
        assert run.tracking.wandb_mode is None
    evaluated = compose_config(*evaluation.command[2:], name="evaluate")
    assert evaluated.hardware.device == "cuda" and evaluated.tracking.wandb_mode is None


def test_a_step_of_1_5b_is_half_of_the_paper_s_and_has_a_gradient(monkeypatch, tmp_path):
    monkeypatch.setattr(first_run, "find_spec", lambda name: True)
    monkeypatch.setattr(first_run, "_smollm2", lambda: tmp_path)
    model, *arms = STEPS["step"].processes("cuda", tmp_path)
    updates = []
    for process in arms:
        words = process.command[process.command.index("scripts/benchmark.py") + 1 :]
        config = parse(compose_config(*words, name="benchmark"), BenchmarkConfig)
        check(config)
        assert config.model.path == str(tmp_path / "model") == model.command[2]
        assert (config.workload, config.rollout.engine) == ("max_length", "vllm")
        assert config.rollouts_per_minibatch == 512
        updates.append((config.algorithm.group_size, config.updates_per_step))
    assert updates == [(2, 1), (16, 8)]  # of the paper's 2 and 16


def test_a_random_model_is_saved_with_a_tokenizer(tmp_path):
    save(TINY, "cpu", str(tmp_path), str(first_run.ROOT / "assets/tiny"))
    found = parse_config(f"model.path={tmp_path}").model
    assert load_model(found).num_parameters() == TINY.parameters
    assert load_processor(found).tokenizer("3*8=")["input_ids"]


def test_the_share_of_a_step_is_that_of_its_seconds(tmp_path):
    processes = [{"name": arm, "shown": {"seconds.median": seconds}}
                 for arm, seconds in (("two_grpo", 3.0), ("grpo", 12.0))]  # fmt: skip
    record = {"step": "step", "status": "passed", "says": "", "processes": processes}
    (tmp_path / "step.json").write_text(json.dumps(record))
    last = first_run.summary(tmp_path).splitlines()[-1]
    assert last.split()[-1] == "0.250" and "share" in last


@pytest.mark.parametrize(
    ("name", "tera"),
    [("NVIDIA H100 80GB HBM3", 989), ("NVIDIA H100 PCIe", 756), ("NVIDIA A100-SXM4-80GB", 312),
     ("NVIDIA L4", 121), ("NVIDIA L40S", 362), ("Tesla T4", None), ("AMD EPYC", None)],
)  # fmt: skip
def test_a_card_s_peak_is_its_data_sheet_s(name, tera):
    assert hardware_ceilings.data_sheet_flops(name) == (tera and tera * 1e12)


def test_a_missing_package_or_model_is_the_reason_of_a_skip(monkeypatch, tmp_path):
    monkeypatch.setattr(first_run, "find_spec", lambda name: None)
    monkeypatch.setattr(first_run, "PEER", tmp_path)
    for name, words in {"peer": "trl", "smollm2": "vllm"}.items():
        assert words in first_run.do(name, "cuda", tmp_path)["reason"]
    monkeypatch.setattr(first_run, "find_spec", lambda name: True)
    monkeypatch.setattr(first_run, "SMOLLM2", tmp_path)
    assert "no weights" in first_run.do("smollm2", "cuda", tmp_path)["reason"]


def test_a_run_s_record_gives_medians_and_the_largest_error(tmp_path):
    rows = [{"step": 0, "canary/kl": 0.3, "seconds/sync": 90.0, "mismatch/max": 0.5},
            {"step": 1, "canary/kl": 0.1, "seconds/sync": 2.0, "mismatch/max": 0.7},
            {"step": 2, "canary/kl": 0.2, "seconds/sync": 4.0}, {"step": 3}]  # fmt: skip
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = first_run._found(Process("a run", [], run=tmp_path), "")
    assert found == {"canary/kl": 0.3, "seconds/sync": 3.0, "mismatch/max": 0.7}


@pytest.mark.vllm
@pytest.mark.parametrize(
    ("words", "file"),
    [*zip(SAID, ["v1/worker/gpu_worker.py", "platforms/cuda.py", "v1/core/kv_cache_utils.py",
                 "v1/worker/gpu/model_runner.py", "v1/worker/gpu_worker.py",
                 "model_executor/model_loader/reload/layerwise.py"], strict=True)],
)  # fmt: skip
def test_what_is_kept_of_vllm_s_messages_is_what_it_says(words, file):
    folder = Path(find_spec("vllm").origin).parent
    assert words in (folder / file).read_text()


@pytest.mark.parametrize(("folder", "level"), [("a run", "INFO"), (None, "None")])
def test_a_run_with_vllm_says_what_it_chose_and_keeps_it(folder, level, monkeypatch, tmp_path):
    """Of other processes JSON is the last line, and vLLM may print behind it."""
    monkeypatch.delenv("VLLM_LOGGING_LEVEL", raising=False)
    speaks = "import os; print(os.environ.get('VLLM_LOGGING_LEVEL'), 'V2 Model Runner\\nno')"
    found = first_run.run(Process("it", ["-c", speaks], run=folder and tmp_path / folder), 20)
    assert found["vllm"] == [f"{level} V2 Model Runner"]


def test_a_run_that_is_cut_keeps_its_rows_and_a_damaged_one_its_messages(tmp_path):
    row, file = json.dumps({"step": 0, "seconds/sync": 9.0}), tmp_path / "metrics.jsonl"
    write = f"import time; open({str(file)!r}, 'w').write({row!r} + chr(10)); time.sleep(99)"
    cut = first_run.run(Process("a run", ["-c", write], ["seconds/sync"], tmp_path), 8)
    assert (cut["exit_code"], cut["shown"]) == (None, {"seconds/sync": 9.0})
    file.write_text("{}\n{}\n")
    fails = Process("a run", ["-c", "exit('its fault')"], run=tmp_path)
    damaged = first_run.run(fails, 20)
    assert (damaged["exit_code"], damaged["found"]) == (1, {})
    assert "its fault" in damaged["messages"]


def test_a_gpu_that_torch_cannot_use_ends_it_before_a_step(monkeypatch, tmp_path, capsys):
    fake_nvidia_smi(tmp_path, "echo 535.183.01")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.setattr(first_run, "has_gpu", lambda wish: True)
    monkeypatch.setattr(first_run, "do", lambda *_: pytest.fail("a step began"))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.version.cuda", "13.0")
    assert first_run.main(["--out", str(tmp_path / "out")]) == 2
    assert "driver is 535.183.01" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


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


def test_an_update_is_measured_and_extrapolated(monkeypatch):
    monkeypatch.setattr(hardware_ceilings, "data_sheet_flops", lambda name: 4e9)
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
    tokens = sum(sequence.num_tokens for sequence in sequences)
    assert far["tokens_per_second"] == pytest.approx(256 * tokens / far["update_seconds"])
    assert far["update_seconds"] == pytest.approx(chunked["adam_seconds"] + 256 * passes)
    assert far["model_flop_utilisation"] == pytest.approx(far["share_of_matmul"] / 4)
    share = flops(TINY, sequences) / passes / 1e9
    assert chunked["passes_share_of_matmul"] == pytest.approx(share)
    for old, parameter in zip(before, policy.logprob_model.parameters(), strict=True):
        torch.testing.assert_close(parameter, old, atol=1e-28, rtol=0)
