"""What the Makefile deletes is what it can make again by itself."""

import shutil
import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).resolve().parent.parent / "Makefile"
KEPT = {
    "runs/a/run.json",
    "results/cpu/claims.csv",
    ".cache/data/math/prompts.parquet",
    ".cache/models/smollm2_135m/config.json",
}
REMOVED = {
    ".venv/bin/python",
    ".cache/setup",
    ".cache/mypy/x",
    ".cache/trl/trl/x",
    ".hypothesis/x",
    "twogrpo.egg-info/x",
    "twogrpo/__pycache__/x.pyc",
}


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_clean_leaves_what_somebody_made(tmp_path):
    shutil.copy(MAKEFILE, tmp_path)
    for name in KEPT | REMOVED:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    for _ in range(2):  # also where little is left to clean
        subprocess.run(["make", "clean"], cwd=tmp_path, check=True, capture_output=True)
        left = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
        assert left == KEPT | {"Makefile"}
    shutil.rmtree(tmp_path / ".cache")
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True, capture_output=True)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_reproduce_makes_the_model_and_passes_on_what_is_typed(tmp_path):
    shutil.copy(MAKEFILE, tmp_path)
    typed = ["PY=python", "SCALE=smollm2_gpu", "ARGS=runs_dir=runs/new"]
    command = ["make", "--dry-run", "reproduce", *typed]
    told = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert "prepare_model.py model=smollm2_135m" in told
    assert "reproduce.py scale=smollm2_gpu runs_dir=runs/new\n" in told
