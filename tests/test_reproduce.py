"""`make reproduce`: its commands work, bases are evaluated like their arms, no job runs twice."""

import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir

from tests.conftest import CONF, ROOT, compose_config
from twogrpo.config import validation
from twogrpo.config.output_folder import LOCK
from twogrpo.config.schema import Config, parse
from twogrpo.config.script_schemas import EvaluateConfig
from twogrpo.errors import ConfigError
from twogrpo.evaluation.checkpoint import check
from twogrpo.reproduce.plan import Job, ReproduceConfig, jobs
from twogrpo.reproduce.reproduce import reproduce
from twogrpo.reproduce.workers import log_file, run_all
from twogrpo.run_record import provenance
from twogrpo.run_record.record import RunRecord

SCALES = sorted(path.stem for path in (CONF / "scale").glob("*.yaml"))


def planned(*overrides: str) -> list[Job]:
    return composed(jobs, *overrides)


def composed(function: Callable[[ReproduceConfig], Any], *overrides: str) -> Any:
    """The function's result on `scripts/reproduce.py {overrides}`, under Hydra like the script."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return function(parse(compose("reproduce", list(overrides)), ReproduceConfig))


@pytest.fixture(scope="module")
def jobs_of() -> dict[str, list[Job]]:
    return {scale: planned(f"scale={scale}") for scale in SCALES}


@pytest.mark.parametrize("scale", SCALES)
def test_every_command_is_accepted_by_its_script(scale, jobs_of, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    for job in jobs_of[scale]:
        if isinstance(job.config, EvaluateConfig):
            check(job.config)
        else:
            validation.check(job.config)


@pytest.mark.parametrize("scale", sorted({*SCALES} - {"cpu_full"}))
def test_the_configuration_of_a_job_is_what_its_command_composes(scale, jobs_of):
    for job in [jobs_of[scale][0], *jobs_of[scale][-4:]]:
        words = shlex.split(shlex.join(job.command))
        script = next(i for i, word in enumerate(words) if word.startswith("scripts/"))
        name = words[script].removeprefix("scripts/").removesuffix(".py")
        schema = Config if name == "train" else EvaluateConfig
        assert parse(compose_config(*words[script + 1 :], name=name), schema) == job.config


@pytest.mark.parametrize("scale", SCALES)
def test_a_run_starts_as_many_ranks_as_its_hardware_has_gpus(scale, jobs_of):
    for job in jobs_of[scale]:
        num_gpus, words = job.config.hardware.num_gpus, shlex.join(job.command)
        is_on_gpu = job.config.hardware.device == "cuda"
        if isinstance(job.config, Config) and (num_gpus > 1 or is_on_gpu):
            assert f"--nproc-per-node {num_gpus} scripts/train.py" in words
        else:
            assert num_gpus <= 1 and "torch.distributed.run" not in words
        if job.cost:
            assert job.cost.gpus == num_gpus


def test_the_paper_is_sampled_by_vllm_and_started_by_the_launcher_that_is_typed(jobs_of):
    assert {job.config.rollout.engine for job in jobs_of["paper"]} == {"vllm"}
    job = planned("scale=paper", "scale.launcher='srun -N 2 torchrun'")[0]
    assert job.command[:5] == ["srun", "-N", "2", "torchrun", "scripts/train.py"]


@pytest.mark.parametrize("scale", SCALES)
def test_every_base_is_evaluated_like_its_arms(scale, jobs_of):
    arms = [job.config for job in jobs_of[scale] if isinstance(job.config, Config)]
    bases = [job.config for job in jobs_of[scale] if isinstance(job.config, EvaluateConfig)]
    assert len({base.model.name for base in bases}) == len(bases) > 0
    for base in bases:
        of_the_model = [arm for arm in arms if arm.model.name == base.model.name]
        assert of_the_model
        for arm in of_the_model:
            started = replace(base.model, path=base.checkpoint, lora=arm.model.lora)
            assert arm.model == started
            assert (arm.evaluation, arm.reward) == (base.evaluation, base.reward)
            assert arm.rollout == base.rollout
            # A base has its GPU to itself.
            alone = ("num_gpus", "gpu_memory_share", "sleep_level")
            beside = {key: getattr(arm.hardware, key) for key in alone}
            assert arm.hardware == replace(base.hardware, **beside)
            if base.hardware.device == "cuda":
                assert (base.hardware.gpu_memory_share, base.hardware.sleep_level) == (0.9, 0)


@pytest.fixture
def finished(tmp_path, monkeypatch) -> list[str]:
    """The overrides of a scale of two seeds and a base, all finished."""
    monkeypatch.setattr(provenance, "code_hash", lambda: "one code")
    small = [
        "scale.experiments=[cpu/two_grpo]", "scale.seeds=[0,1]", f"runs_dir={tmp_path}/mine",
        "scale.overrides=['tracking=local']", "scale.checkpoint_overrides=['tracking=local']",
    ]  # fmt: skip
    for job in planned(*small):
        config: Any = job.config
        if isinstance(config, EvaluateConfig):  # after the weights were found
            config = replace(config, weights_sha256="0ab", model=replace(config.model, path="x"))
        RunRecord(config).finish({})
    return small


def test_a_finished_job_is_done_where_its_numbers_are_the_same(finished, capsys):
    composed(reproduce, *finished, "dry_run=true")
    assert "3 runs, 3 of them done" in capsys.readouterr().err
    # A key that changes no number makes no other run.
    again = planned(*finished, "scale.overrides=['tracking=local','hardware.num_threads=2']")
    assert [job.is_done for job in again] == [True, True, True]


@pytest.mark.parametrize(
    ("key", "override", "named"),
    [
        ("overrides", "training.learning_rate=1e-4", "training.learning_rate=5e-05"),
        ("checkpoint_overrides", "evaluation.num_samples=4", "evaluation.num_samples=32"),
    ],
)
def test_an_edited_configuration_is_refused_before_anything_runs(
    finished, monkeypatch, capsys, key, override, named
):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a job ran"))
    edited = [*finished, f"scale.{key}=['tracking=local','{override}']"]
    with pytest.raises(ConfigError, match=f"{named}.*runs_dir=runs/NEW"):
        composed(reproduce, *edited)
    composed(reproduce, *edited, "dry_run=true")
    plan = capsys.readouterr().err
    assert "todo" not in plan and "refused (output_dir=" in plan


def test_an_interrupted_run_is_started_again(finished, monkeypatch):
    started = list[str]()

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        started.append(shlex.join(command[1:]))
        return subprocess.CompletedProcess(command, 0)

    def run_jobs(waiting: list[Job], *, processes: int) -> None:
        started.extend(shlex.join(job.command[1:]) for job in waiting)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr("twogrpo.reproduce.reproduce.run_all", run_jobs)
    file = planned(*finished)[1].config.output_dir + "/run.json"
    record = json.loads(Path(file).read_text())
    Path(file).write_text(json.dumps(record | {"status": "interrupted"}))
    composed(reproduce, *finished)
    assert [line.split()[0] for line in started] == ["scripts/train.py", "-m"]
    assert "seed=1" in started[0]
    assert started[1].endswith("/mine/report")  # results/ is not touched


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("scale.seeds=[0,0]", "seeds"),
        ("scale.seeds=[]", "seeds"),
        ("runs_dir=''", "runs_dir"),
        ("runs_dir=runs/../..", "runs_dir"),
        ("processes=0", "processes"),
        ('scale.launcher="torchrun \\"x"', "launcher"),
        ("scale.launcher=no-such-program", "launcher"),
    ],
)
def test_a_plan_that_cannot_run_is_refused_before_anything_runs(override, named, tmp_path):
    usual = [] if "runs_dir" in override else [f"runs_dir={tmp_path}/none"]
    with pytest.raises(ConfigError, match=named):
        composed(reproduce, override, *usual)
    assert not list(tmp_path.iterdir())


def program(job: Job, code: str) -> Job:
    return replace(job, command=[sys.executable, "-c", code])


def test_each_cell_of_a_study_has_a_log_of_its_own():
    with initialize_config_dir(str(CONF), version_base=None):
        cells = jobs(parse(compose("reproduce", ["study_name=controls"]), ReproduceConfig))
    assert len({log_file(job) for job in cells}) == len(cells) == 75
    assert log_file(cells[0]).name == f"{Path(cells[0].config.output_dir).name}.log"


def test_a_failed_job_ends_the_others_queue_and_is_named(finished, capfd):
    first, second, third = planned(*finished)
    queue = [program(first, "raise SystemExit(3)"), program(second, "print('second', flush=True)")]
    with pytest.raises(SystemExit, match=f"{first.name} failed"):
        run_all([*queue, program(third, "print('third', flush=True)")], processes=2)
    assert capfd.readouterr().out == "second\n"


def test_a_terminal_shows_a_bar_and_the_jobs_write_logs(finished, monkeypatch, capfd):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    jobs_here = [program(job, "print('progress', flush=True)") for job in planned(*finished)]
    run_all(jobs_here, processes=2)
    out, err = capfd.readouterr()
    assert "all runs" in err and "3/3 runs done" in err and not out
    assert [log_file(job).read_text() for job in jobs_here] == ["progress\n"] * 3


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal is Linux's")
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_the_jobs_end_with_the_process_that_started_them(sent, tmp_path):
    starter = f"""
import sys
from types import SimpleNamespace
from twogrpo.reproduce.plan import Job
from twogrpo.reproduce.workers import log_file, run_all
code = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
evaluation = SimpleNamespace(benchmarks=[], problems_per_benchmark=1, num_samples=1)
command = [sys.executable, "-c", code, {str(tmp_path / "pid")!r}]
job = Job("job", SimpleNamespace(evaluation=evaluation), command)
Job.training_work = 0.0
run_all([job], processes=1)
"""
    process = subprocess.Popen([sys.executable, "-c", starter], cwd=ROOT)
    wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    job = int((tmp_path / "pid").read_text())
    process.send_signal(sent)
    assert process.wait(timeout=20) == (-9 if sent == signal.SIGKILL else 128 + sent)
    wait_for(lambda: not is_alive(job))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def wait_for(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_plan_imports_no_torch():
    """A second `make reproduce` has nothing to do, quickly."""
    program = "import sys, scripts.reproduce; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


RUN_ALL = "twogrpo.reproduce.reproduce.run_all"


@pytest.mark.parametrize("file", ["thesis.tex", "report/thesis.tex"])
def test_somebodys_folder_is_not_written_into(file, tmp_path, monkeypatch):
    monkeypatch.setattr(RUN_ALL, lambda *_, **__: pytest.fail("a job ran"))
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("precious")
    with pytest.raises(ConfigError, match=r"(runs|results)_dir=.* not ours: it holds thesis\.tex"):
        composed(reproduce, f"runs_dir={tmp_path}", "scale.seeds=[0]")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / file]


def test_the_folder_is_locked_while_the_jobs_run_and_logs_of_a_killed_one_do_not_matter(
    tmp_path, monkeypatch
):
    (tmp_path / "two_grpo-seed0.log").write_text("killed early")
    (tmp_path / "two_grpo-seed0").mkdir()
    locked = []
    monkeypatch.setattr(
        "twogrpo.reproduce.reproduce.run_all",
        lambda *_, **__: locked.append((tmp_path / LOCK).exists()),
    )
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=0))
    composed(
        reproduce, f"runs_dir={tmp_path}", "scale.experiments=[cpu/two_grpo]", "scale.seeds=[0]"
    )
    assert locked == [True]
    assert not (tmp_path / LOCK).exists()
