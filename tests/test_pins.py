"""pyproject.toml, the locks, environment.yml and this environment name one set of pins."""

import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version as installed_version
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
PINS = dict(pin.split("==") for pin in PROJECT["project"]["dependencies"] + EXTRAS["dev"])
VLLM_LOCKS = {"vllm-cpu": "vllm_cpu.lock", "vllm-cuda": "vllm_cuda.lock"}
LOCKS = [path.name for path in (ROOT / "requirements").glob("*.lock")]
PYTHONS = ["3.11", "3.12", "3.13"]


def locked(name: str) -> dict[str, str]:
    """A lock's versions by package."""
    text = (ROOT / "requirements" / name).read_text()
    return dict(re.findall(r"^([\w.-]+)==(\S+)(?: ; .*)? \\$", text, flags=re.MULTILINE))


def test_the_locks_hold_every_direct_pin() -> None:
    lock = locked("all.lock") | locked("torch.lock")
    assert {name: lock[name] for name in PINS} == PINS
    assert locked("torch_cpu.lock") == {"torch": f"{PINS['torch']}+cpu"}
    build = f"setuptools=={locked('build.lock')['setuptools']}"
    assert [build] == PROJECT["build-system"]["requires"]
    assert EXTRAS["smollm2"] == [f"{name}=={pin}" for name, pin in locked("smollm2.lock").items()]
    assert set(EXTRAS["tools"]) <= {f"{name}=={pin}" for name, pin in locked("tools.lock").items()}


@pytest.mark.parametrize("name", LOCKS)
def test_every_entry_of_a_lock_has_hashes_and_no_address(name: str) -> None:
    text = re.sub(r" *#.*", "", (ROOT / "requirements" / name).read_text())
    entries = re.split(r"\n(?=\w)", text.strip())
    pattern = r"[\w.-]+==[^\s:/]+( ; [^:/\n]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+\s*"
    assert not [entry for entry in entries if not re.fullmatch(pattern, entry)]
    assert len(entries) == len(locked(name))  # one version for every Python


def test_pytorch_s_builds_for_cpus_have_a_hash_for_each_python_and_processor() -> None:
    text = (ROOT / "requirements" / "torch_cpu.lock").read_text()
    assert len(set(re.findall("sha256:(.{64})", text))) >= len(PYTHONS) * 2


@pytest.mark.parametrize("version", [*PYTHONS, "3.10", "3.14", "2.7"])
@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_the_makefile_takes_the_pythons_that_pyproject_names(version: str, tmp_path: Path) -> None:
    """By a stand-in that runs what it is given and says it is another version."""
    pretend = f"import sys; sys.version_info = {(*map(int, version.split('.')), 0)}"
    (tmp_path / "python3").write_text(
        "#!/bin/sh\n"
        f'case $1 in -V) echo Python {version}.0;; -c) "{sys.executable}" -c "{pretend}\n$2";;\n'
        "*) echo installing;; esac\n"
    )
    (tmp_path / "python3").chmod(0o755)
    for name in ("python3.11", "python3.12", "python3.13"):  # as pyenv's, for one not chosen
        (tmp_path / name).write_text("#!/bin/sh\nexit 127\n")
        (tmp_path / name).chmod(0o755)
    shutil.copy(ROOT / "Makefile", tmp_path)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    made = subprocess.run(
        ["make", "setup"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (version in PYTHONS) == (version in SpecifierSet(PROJECT["project"]["requires-python"]))
    if version in PYTHONS:
        assert (made.returncode, made.stdout) == (0, "installing\n")
    else:
        [line] = [line for line in made.stderr.splitlines() if "make: ***" not in line]
        assert f"not Python {version}.0: make setup PYTHON=" in line


@pytest.mark.parametrize("name", ["all.lock", "vllm_cpu.lock"])
def test_a_lock_for_cpus_holds_nothing_for_cuda(name: str) -> None:
    """torchvision, torchaudio and torchcodec of the index are CUDA builds: vLLM fails with them."""
    assert not [
        package for package in locked(name) if re.match("torch|triton|nvidia|cuda", package)
    ]


@pytest.mark.parametrize("extra", VLLM_LOCKS)
def test_vllm_s_locks_hold_its_pin_and_change_no_installed_package(extra: str) -> None:
    [pin] = EXTRAS[extra]
    lock = locked(VLLM_LOCKS[extra])
    assert f"{pin.split('==')[0]}=={lock[pin.split('==')[0]]}" == pin
    others = locked("all.lock").keys() | locked("torch.lock").keys() | locked("build.lock").keys()
    assert not lock.keys() & others


def test_the_conda_environment_has_a_python_that_pyproject_names() -> None:
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert conda == [f"python{PROJECT['project']['requires-python']}", "make", "c-compiler"]


def test_the_installed_versions_are_the_pins() -> None:
    assert {name: installed_version(name).split("+")[0] for name in PINS} == PINS
