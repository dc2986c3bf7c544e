"""The Makefile: help lists every target, clean deletes only what it can make again."""

import re
import shutil
import subprocess

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
KEPT = {
    "runs/a/run.json",
    "results/cpu/claims.csv",
    ".cache/data/math/prompts.parquet",
    ".cache/models/smollm2_135m/config.json",
}
REMOVED = [
    ".venv/bin/python", ".cache/setup", ".cache/mypy/x", ".cache/trl/trl/x", ".hypothesis/x",
    "twogrpo.egg-info/x", "twogrpo/__pycache__/x.pyc",
]  # fmt: skip


def make(*words: str, cwd) -> str:
    command = ["make", "--no-print-directory", *words]
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout


def test_clean_keeps_runs_results_data_and_models(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in [*KEPT, *REMOVED]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    for _ in range(2):  # also where little is left to clean
        make("clean", cwd=tmp_path)
        left = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
        assert left == KEPT | {"Makefile"}
    shutil.rmtree(tmp_path / ".cache")
    make("clean", cwd=tmp_path)


def test_reproduce_makes_the_model_and_passes_arguments_on(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    typed = ["PY=python", "SCALE=smollm2_gpu", "ARGS=runs_dir=runs/new"]
    planned = make("--dry-run", "reproduce", *typed, cwd=tmp_path)
    assert "prepare_model.py model=smollm2_135m" in planned
    assert "reproduce.py scale=smollm2_gpu runs_dir=runs/new\n" in planned


def test_help_lists_every_target():
    [phony] = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    listed = make("help", cwd=ROOT).splitlines()
    assert [line.split()[1] for line in listed] == phony.split()


def test_ci_runs_style_types_and_the_tests():
    lines = (ROOT / ".ci/run").read_text().splitlines()
    assert lines[-2:] == ["make lint types", "make test"]
