"""A sweep: each job has a process and a folder of its own, and its end does not end the others."""

import runpy
import sys
from collections.abc import Callable

import pytest
from hydra.core.global_hydra import GlobalHydra

from tests.config.test_cli import in_a_process
from tests.conftest import ROOT, compose_config
from twogrpo.config import cli

Sweep = Callable[..., tuple[int, list[list[str]]]]


@pytest.fixture
def sweep(tmp_path, monkeypatch) -> Sweep:
    """`sweep("seed=0,1", codes={"seed=1": 2})`: the exit code of a sweep, and what its jobs were
    given; a job with a word of `codes` ends with that code, and no job runs anything."""
    monkeypatch.chdir(tmp_path)

    def run(*typed: str, script: str = "train", codes: dict[str, int] | None = None):
        given: list[list[str]] = []

        class Process:
            def __init__(self, command, **_):
                given.append(command[2:])

            def wait(self):
                return next((c for word, c in (codes or {}).items() if word in given[-1]), 0)

        monkeypatch.setattr(cli.subprocess, "Popen", Process)
        monkeypatch.setattr(cli, "_failed", {})
        cli._has_a_folder_for_each_job.cache_clear()
        path = str(ROOT / f"scripts/{script}.py")
        monkeypatch.setattr(sys, "argv", [path, "-m", *typed])
        GlobalHydra.instance().clear()
        try:
            runpy.run_path(path, run_name="__main__")
        except SystemExit as stopped:
            return stopped.code, given
        finally:
            GlobalHydra.instance().clear()
        return 0, given

    return run


def folders(given: list[list[str]]) -> set[str]:
    return {compose_config(*words).output_dir for words in given}


def test_jobs_whose_names_differ_keep_the_names_of_single_runs(sweep):
    code, given = sweep("algorithm.group_size=2,4", "seed=0,1")
    assert code == 0
    assert given == [
        [f"algorithm.group_size={size}", f"seed={seed}"] for size in (2, 4) for seed in (0, 1)
    ]


@pytest.mark.parametrize(
    "typed",
    [
        ["training.learning_rate=1e-4,2e-4", "seed=0,1"],
        ["run_name=mine", "seed=range(4)"],
        ["model.path=assets/tiny,./assets/tiny", "seed=0,1"],
        ["evaluation.benchmarks=[longer],[in_distribution]", "dataset.seed=0,1"],
    ],
)
def test_jobs_of_one_name_get_what_is_swept_in_theirs(typed, sweep):
    code, given = sweep(*typed)
    assert (code, len(given), len(folders(given))) == (0, 4, 4)


def test_evaluations_of_one_name_get_names_of_their_own(sweep):
    code, given = sweep(
        "checkpoint=assets/tiny", "evaluation.num_samples=2,4", script="evaluate"
    )  # fmt: skip
    names = {word for words in given for word in words if word.startswith("run_name=")}
    assert code == 0
    assert names == {
        f"run_name='tiny-chain_arithmetic-evaluation.num_samples={n}'" for n in (2, 4)
    }  # fmt: skip
    assert sweep("checkpoint=assets/tiny,runs/other", script="evaluate")[1] == [
        ["checkpoint=assets/tiny"],
        ["checkpoint=runs/other"],
    ]


def test_a_folder_for_all_jobs_is_refused_before_the_first(sweep, capsys):
    code, given = sweep("output_dir=runs/mine", "seed=0,1")
    assert (code, given) == (2, [])
    [line] = capsys.readouterr().err.strip().splitlines()
    assert "output_dir=runs/mine" in line and "leave it out" in line
    code, given = sweep("output_dir=runs/mine-${seed}", "seed=0,1")
    assert (code, len(given)) == (0, 2)


def test_a_job_that_fails_does_not_end_the_others_and_the_code_says_so(sweep, capsys):
    code, given = sweep("seed=0,1,2", codes={"seed=0": 71, "seed=1": 2})
    assert (code, len(given)) == (71, 3)
    *_, line = capsys.readouterr().err.strip().splitlines()
    assert "seed=0 (exit code 71)" in line and "seed=1 (exit code 2)" in line


@pytest.mark.parametrize(("ended", "expected"), [(130, 130), (143, 143), (-15, 143), (75, 75)])
def test_an_interrupted_job_ends_the_sweep(ended, expected, sweep):
    code, given = sweep("seed=0,1,2", codes={"seed=1": ended})
    assert (code, len(given)) == (expected, 2)


def test_a_job_that_does_not_compose_is_refused_before_the_first(sweep, capsys):
    code, given = sweep("algorithm=grpo,grop")
    assert (code, given) == (2, [])
    [line] = capsys.readouterr().err.strip().splitlines()
    assert "algorithm=grop" in line and "did you mean" in line


def test_a_refused_job_of_a_real_sweep_says_its_line_and_the_next_begins(tmp_path):
    done = in_a_process("-m", "algorithm.group_size=1,0", cwd=tmp_path)
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert [line.partition(" ")[0] for line in lines[:2]] == [
        "algorithm.group_size=1",
        "algorithm.group_size=0",
    ]
    assert len(lines) == 3 and "Traceback" not in done.stderr
