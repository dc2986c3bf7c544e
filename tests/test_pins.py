"""pyproject.toml, the locks, environment.yml and this environment name one set of pins."""

import re
import tomllib
from importlib.metadata import version

import pytest
import yaml

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
PINS = dict(pin.split("==") for pin in PROJECT["project"]["dependencies"] + EXTRAS["dev"])
VLLM_LOCKS = {"vllm-cpu": "vllm_cpu.lock", "vllm-cuda": "vllm_cuda.lock"}


def locked(name: str) -> dict[str, str]:
    """A lock's versions by package."""
    text = (ROOT / "requirements" / name).read_text()
    return dict(re.findall(r"^([\w.-]+)==(\S+) \\$", text, flags=re.MULTILINE))


def test_the_locks_hold_every_direct_pin_but_torch() -> None:
    lock = locked("all.lock")
    assert {name: lock[name] for name in PINS if name != "torch"} | {"torch": PINS["torch"]} == PINS
    build = f"setuptools=={locked('build.lock')['setuptools']}"
    assert [build] == PROJECT["build-system"]["requires"]
    smollm2 = [f"{name}=={pin}" for name, pin in locked("smollm2.lock").items()]
    assert smollm2 == EXTRAS["smollm2"]


@pytest.mark.parametrize("name", ["all.lock", "build.lock", "smollm2.lock", *VLLM_LOCKS.values()])
def test_every_entry_of_a_lock_has_hashes_and_no_address(name: str) -> None:
    text = re.sub(r" *#.*", "", (ROOT / "requirements" / name).read_text())
    entries = re.split(r"\n(?=\w)", text.strip())
    pattern = r"[\w.-]+==[^\s:/]+( \\\n    --hash=sha256:[0-9a-f]{64})+\s*"
    assert not [entry for entry in entries if not re.fullmatch(pattern, entry)]
    assert len(entries) == len(locked(name))


@pytest.mark.parametrize("name", ["all.lock", "vllm_cpu.lock"])
def test_a_lock_for_cpus_holds_nothing_for_cuda(name: str) -> None:
    """torchvision, torchaudio and torchcodec of the index are CUDA builds: vLLM fails with them."""
    assert not [package for package in locked(name) if re.match("torch|nvidia|cuda", package)]
    assert "triton" not in locked("all.lock")


@pytest.mark.parametrize("extra", VLLM_LOCKS)
def test_vllm_s_locks_hold_its_pin_and_change_no_installed_package(extra: str) -> None:
    [pin] = EXTRAS[extra]
    lock = locked(VLLM_LOCKS[extra])
    assert f"{pin.split('==')[0]}=={lock[pin.split('==')[0]]}" == pin
    assert not lock.keys() & (locked("all.lock").keys() | {"torch", "triton", "setuptools"})


def test_the_conda_environment_takes_its_pins_from_pyproject() -> None:
    *conda, pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert conda == [f"python={PROJECT['project']['requires-python'].strip('=.*')}", "pip"]
    assert pip == {"pip": ["-e .[dev]"]}


def test_the_installed_versions_are_the_pins() -> None:
    assert {name: version(name).split("+")[0] for name in PINS} == PINS
