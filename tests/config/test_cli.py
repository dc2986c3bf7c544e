"""The doorstep, as a person meets it: one line and exit code 2; Ctrl-C; done is done."""

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from tests.conftest import ROOT
from twogrpo import errors
from twogrpo.config.renamed import REMOVED, RENAMED
from twogrpo.run_record import files, provenance
from twogrpo.training import assemble, loop

SCRIPT = ROOT / "scripts/train.py"


@pytest.fixture
def shell(small, tmp_path, monkeypatch, capsys) -> Callable[..., tuple[int, str]]:
    """`shell("seed=1")` runs the training script in this process: its exit code and last words."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(provenance, "code_hash", lambda: "one code")

    def run(*typed: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *small, *typed])
        GlobalHydra.instance().clear()
        capsys.readouterr()
        code = 0
        try:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        finally:
            GlobalHydra.instance().clear()
        return code, "".join(capsys.readouterr())

    return run


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("algorithm=two_gpro", ["algorithm=two_gpro", "did you mean two_grpo?"]),
        ("traning=cpu", ["traning", "did you mean training?"]),
        ("experiment=tabel1", ["experiment=tabel1"]),
        ("experiment=cpu/two_gpro", ["experiment=cpu/two_gpro", "did you mean cpu/two_grpo"]),
        ("algorithm.group_szie=2", ["algorithm.group_szie", "did you mean algorithm.group_size?"]),
        ("+algorithm.banana=1", ["algorithm.banana"]),
        ("algorithm.group_size=two", ["algorithm.group_size", "two"]),
        (f"training.epochs=1{'0' * 320}", ["training.epochs=1", "use a value in [1, 1000000]"]),
        ("algorithm.group_size=1", ["algorithm.group_size=1", "use a value in [2, 10000]"]),
        ("training.prompts_per_minibatch=3", ["training.prompts_per_minibatch=3", "make"]),
        ("dataset.num_prompts=???", ["dataset.num_prompts=???", "give"]),
        ("seed=[", ["seed=["]),
        ("training=5", ["training=5 is no option: leave it out, or use one of"]),
        ("reward=null", ["reward=null is no option: leave it out, or use one of"]),
        ("hardware=[1]", ["hardware=[1]"]),
        ("~seed", ["seed"]),
        ("evaluation.hub={a:5}", ["evaluation.hub"]),
        ("--config-name=nothing", ["--config-name=nothing"]),
        ("--nothing", ["--nothing"]),
        ("hydra/launcher=nothing", ["hydra/launcher=nothing", "basic"]),
        ("run_name=\x1b[31mred", ["run_name=\\x1b[31mred"]),
        ("algorithm=\x1b[31mred", ["\\x1b[31mred"]),
        ("output_dir=/dev/null/run", ["output_dir=/dev/null/run"]),
        (f"output_dir={'x' * 300}", [f"output_dir={'x' * 40}"]),
        ("banana", ["banana"]),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two_and_nothing_written(typed, said, shell, tmp_path):
    code, output = shell(typed)
    assert code == 2, output
    assert len(output.strip().splitlines()) == 1, output
    for words in said:
        assert words in output
    assert f"did you mean {typed.partition('=')[0]}?" not in output
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("WORLD_SIZE", "x", "WORLD_SIZE=x"),
        ("WORLD_SIZE", "0", "WORLD_SIZE=0"),
        ("RANK", "x", "RANK=x"),
        ("RANK", "0", "LOCAL_RANK="),
    ],
)
def test_ranks_that_torchrun_did_not_name_are_refused(
    variable, value, said, shell, monkeypatch, tmp_path
):
    monkeypatch.setenv(variable, value)
    code, output = shell()
    assert code == 2, output
    assert len(output.strip().splitlines()) == 1
    assert output.startswith(said)
    assert list(tmp_path.rglob("*")) == []


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_run_can_be_typed_again_and_its_folder_belongs_to_it(shell, tmp_path):
    """Done is not done again; another config is refused; neither changes a byte."""
    brief = ["training.epochs=1", "evaluation.benchmarks=[longer]", "algorithm=two_grpo"]
    code, output = shell(*brief)
    assert code == 0, output
    assert json.loads((tmp_path / "run/run.json").read_text())["status"] == "finished"
    before = snapshot(tmp_path)
    code, output = shell(*brief)
    assert (code, snapshot(tmp_path)) == (0, before)
    assert "finished" in output
    # Where it is tracked and on what hardware does not make another run of it.
    code, output = shell(*brief, "hardware.tokens_per_microbatch=1000", "tracking.kl_rollouts=1")
    assert (code, snapshot(tmp_path)) == (0, before)
    for typed in ("seed=1", "algorithm.group_size=4", "training.learning_rate=1"):
        code, output = shell(*brief, typed)
        assert (code, snapshot(tmp_path)) == (2, before)
        assert typed.partition("=")[0] in output
        assert "output_dir=" in output
        assert len(output.strip().splitlines()) == 1
    code, output = shell(*brief, "resume=never")
    assert (code, snapshot(tmp_path)) == (2, before)
    assert "resume=never" in output


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("lora=null", "lora=null is no option: leave it out, or did you mean none?"),
        ("lora=rank_33", "lora=rank_33 is unknown: did you mean rank_32?"),
        ("model.lora.rank=8", "model.lora.rank: model.lora is null, all weights are trained: add"),
        ("lora=rank_32 model.lora.rank=0", "model.lora.rank=0 is out of range"),
        ("lora=rank_32 model.lora.rank=x", "model.lora.rank"),
        ("lora=rank_32 model.lora.target_modules=[q_porj]", "did you mean q_proj? It has"),
    ],
)
def test_a_wrong_value_of_lora_is_one_line(typed, said, shell, tmp_path):
    before = snapshot(tmp_path)
    code, output = shell(*typed.split())
    assert (code, snapshot(tmp_path)) == (2, before)
    assert said in output
    assert len(output.strip().splitlines()) == 1


@pytest.mark.parametrize("old", sorted(RENAMED))
def test_a_renamed_key_is_refused_with_its_new_name(old, shell, tmp_path):
    before = snapshot(tmp_path)
    code, output = shell(f"{old}=1")
    assert (code, snapshot(tmp_path)) == (2, before)
    assert old in output and RENAMED[old] in output
    assert len(output.strip().splitlines()) == 1


@pytest.mark.parametrize("old", sorted(REMOVED))
def test_a_removed_key_is_refused_with_what_to_do_instead(old, shell, tmp_path):
    before = snapshot(tmp_path)
    code, output = shell(f"{old}=1")
    assert (code, snapshot(tmp_path)) == (2, before)
    assert f"{old} was removed: {REMOVED[old]}" in output
    assert len(output.strip().splitlines()) == 1


def test_ctrl_c_says_how_to_continue_and_the_same_command_does(shell, tmp_path, monkeypatch):
    brief = ["training.epochs=2", "evaluation.benchmarks=[longer]", "algorithm=two_grpo"]
    one_step = loop.train_step

    def interrupted(run, step):
        if step == 1:
            raise KeyboardInterrupt
        return one_step(run, step)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", interrupted)
        code, output = shell(*brief)
    assert code == 130
    assert "Traceback" not in output
    assert "the same command continues" in output
    assert json.loads((tmp_path / "run/run.json").read_text())["status"] == "interrupted"
    code, output = shell(*brief)
    assert code == 0, output
    steps = [row["step"] for row in files.read_rows(tmp_path / "run")]
    assert steps == [0, 1, 2, 3]


TOO_LITTLE = [
    MemoryError(),
    torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of …"
    ),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 4000000000000 bytes. Error code 12 (Cannot allocate memory)"
    ),
]


def refuse_memory(*_, **__):
    torch.empty(2**60, dtype=torch.uint8)  # what the kernel really says here


@pytest.mark.parametrize("error", [*TOO_LITTLE, None], ids=["python", "GPU", "CPU", "this machine"])
@pytest.mark.parametrize(
    ("module", "name", "code"),
    [(assemble, "assemble", 2), (loop, "train_step", 71), (loop, "finish", 71)],
)
def test_too_little_memory_is_one_line_with_the_knobs(
    module, name, code, error, shell, monkeypatch, tmp_path
):
    def fail(*_):
        refuse_memory() if error is None else None
        raise type(error)(*error.args)  # notes are the raised one's alone

    brief = ["training.epochs=1", "evaluation.benchmarks=[longer]", "algorithm=two_grpo"]
    with monkeypatch.context() as patch:
        patch.setattr(module, name, fail)
        actual, output = shell(*brief)
    assert actual == code, output
    said, *rest = output[output.index("out of memory") :].strip().splitlines()
    for knob in ("tokens_per_microbatch", "logits_chunk_tokens", "rollouts_per_call"):
        assert f"hardware.{knob}" in said
    assert "hardware.gpu_memory_share" in said
    assert "Traceback" not in output
    if code == 2:
        assert rest == [] and not (tmp_path / "run").exists()
    else:
        assert "To resume: python" in rest[0] and len(rest) == 1
    if name == "train_step" and error is None:  # as it says, with a smaller knob
        assert shell(*brief, "hardware.tokens_per_microbatch=512")[0] == 0


def test_another_runtime_error_stays_a_trace(shell, monkeypatch):
    def fail(*_):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(loop, "train_step", fail)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        shell("training.epochs=1")


def in_a_process(*typed: str, cwd: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, str(SCRIPT), *typed],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("typed", ["algorithm=two_gpro", "algorithm.group_size=two"])
def test_from_a_real_shell_too(typed, tmp_path):
    done = in_a_process(typed, f"output_dir={tmp_path / 'run'}", cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


REPORT_MODULES = """
import runpy, sys
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print(*{name.partition(".")[0] for name in sys.modules})
"""


def test_a_wrong_number_is_refused_without_importing_what_takes_seconds(tmp_path):
    start = f"import sys; sys.argv[0] = {str(SCRIPT)!r}{REPORT_MODULES}"
    done = subprocess.run(
        [sys.executable, "-c", start, "algorithm.group_size=1"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "algorithm.group_size=1" in done.stderr
    assert "hydra" in done.stdout.split()
    assert not {"torch", "transformers", "wandb", "datasets", "vllm"} & {*done.stdout.split()}


@pytest.mark.slow
@pytest.mark.parametrize("typed", ["algorithm=two_gpro", "algorithm.group_size=1"])
def test_under_torchrun_the_first_rank_alone_says_it(typed, tmp_path):
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [sys.executable, *launch, str(SCRIPT), typed, f"output_dir={tmp_path / 'run'}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1  # torchrun's own, after a trace of its own
    assert sum(typed in line and "Error" not in line for line in done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_who_alone_found_it_says_it_at_last(monkeypatch, capsys):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(errors, "WAIT_FOR_FIRST_RANK_SECONDS", 0.01)
    with pytest.raises(SystemExit) as stopped, errors.in_one_line():
        raise errors.ConfigError("only here")
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "only here\n"


def test_cfg_job_prints_the_composed_configuration_and_writes_nothing(tmp_path):
    done = in_a_process("algorithm=two_grpo", "--cfg", "job", cwd=tmp_path)
    assert done.returncode == 0
    assert "group_size: 2" in done.stdout
    assert "hydra" not in done.stdout
    assert list(tmp_path.iterdir()) == []
