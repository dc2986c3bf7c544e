"""requirements/install.py: which PyTorch, whose .venv, what an interruption leaves."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from requirements import install


def test_other_pythons_are_refused() -> None:
    install.require_python((3, 11))
    with pytest.raises(install.SetupError, match=r"Python 3\.11 is needed, not 3\.12: make setup"):
        install.require_python((3, 12))


def test_without_gpu_small_builds_come_first() -> None:
    arguments = [arguments for _, arguments in install.torch_sources("9.8.7", cpu_only=True)]
    assert arguments[0] == ["--no-deps", "torch==9.8.7+cpu"]
    assert arguments[1][:2] == ["--index-url", install.PYTORCH_CPU_INDEX]
    assert arguments[1][-2:] == arguments[0]
    assert arguments[2:] == [["torch==9.8.7"]]


def test_with_gpu_the_default_build_is_the_only_one() -> None:
    assert [a for _, a in install.torch_sources("9.8.7", cpu_only=False)] == [["torch==9.8.7"]]


@pytest.mark.parametrize(
    ("listing", "expected"), [("GPU 0: NVIDIA H200", True), ("No devices were found", False)]
)
def test_gpu_is_what_nvidia_smi_lists(
    listing: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "nvidia-smi"
    fake.write_text(f"#!/bin/sh\necho '{listing}'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert install.has_gpu("") is expected
    assert install.has_gpu("cuda") is True
    assert install.has_gpu("cpu") is False


def test_no_gpu_without_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert install.has_gpu("") is False


def test_unknown_wish_is_refused() -> None:
    with pytest.raises(install.SetupError, match="TORCH=rocm is unknown: use TORCH=cpu"):
        install.has_gpu("rocm")


def test_half_installed_packages_are_forgotten(tmp_path: Path) -> None:
    whole, half, leftover = (tmp_path / name for name in ("a-1.dist-info", "b-1.dist-info", "~c"))
    for folder in (whole, half, leftover):
        folder.mkdir()
        (folder / "METADATA").touch()
    (whole / "INSTALLER").write_text("pip\n")
    install.drop_half_installed(tmp_path)
    assert list(tmp_path.iterdir()) == [whole]


def test_a_foreign_venv_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pyvenv.cfg").touch()
    with pytest.raises(install.SetupError, match="was not made by `make setup`: move it away"):
        install.install(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["pyvenv.cfg"]


def test_outdated_venv_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "run", lambda *_, remedy: None)
    venv = tmp_path / "venv"
    for folder in (venv, tmp_path / ".venv-outdated"):
        folder.mkdir()
        (folder / "old").touch()
    install.create(venv)
    assert [path.name for path in tmp_path.iterdir()] == ["venv"]
    assert [path.name for path in venv.iterdir()] == ["state"]


class Steps:
    """Stands in for what takes minutes, and may be killed over it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[str] = []
        self.kill_fill = False
        monkeypatch.setattr(install, "create", self.create)
        monkeypatch.setattr(install, "fill", self.fill)

    def create(self, venv: Path) -> None:
        shutil.rmtree(venv, ignore_errors=True)
        (venv / "bin").mkdir(parents=True)
        (venv / "bin" / "python").touch()
        self.made.append("create")

    def fill(self, venv: Path) -> None:
        self.made.append("fill")
        if self.kill_fill:
            raise KeyboardInterrupt


def test_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(monkeypatch)
    for _ in range(2):
        install.install(tmp_path / "venv")
    assert steps.made == ["create", "fill"]


def test_interrupted_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(monkeypatch)
    steps.kill_fill = True
    with pytest.raises(KeyboardInterrupt):
        install.install(tmp_path / "venv")
    steps.kill_fill = False
    install.install(tmp_path / "venv")
    assert steps.made == ["create", "fill", "fill"]


def test_another_lock_makes_another_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(monkeypatch)
    install.install(tmp_path / "venv")
    monkeypatch.setattr(install, "LOCKS", [*install.LOCKS, Path(__file__)])
    install.install(tmp_path / "venv")
    assert steps.made == ["create", "fill"] * 2


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`machine(gpu=True, torch="cpu")`: what the next `make setup` finds and is asked."""

    def set_up(*, gpu: bool = False, torch: str = "") -> None:
        monkeypatch.setattr(install, "has_gpu", lambda wish: wish == "cuda" or (gpu and not wish))
        monkeypatch.setenv("TORCH", torch)

    return set_up


def test_what_was_made_for_cuda_stays_on_a_login_node(
    tmp_path: Path, machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(monkeypatch)
    machine(torch="cuda")
    install.install(tmp_path / "venv")
    machine()
    install.install(tmp_path / "venv")
    assert steps.made == ["create", "fill"] and install.is_for_cuda(tmp_path / "venv")
    monkeypatch.setattr(install, "LOCKS", [*install.LOCKS, Path(__file__)])
    install.install(tmp_path / "venv")
    assert steps.made == ["create", "fill"] * 2 and install.is_for_cuda(tmp_path / "venv")
    machine(torch="cpu")
    with pytest.raises(
        install.SetupError, match="for cuda, but TORCH=cpu: make clean setup TORCH="
    ):
        install.install(tmp_path / "venv")


def test_what_was_made_without_a_gpu_is_refused_beside_one_until_it_is_wanted_so(
    tmp_path: Path, machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(monkeypatch)
    machine()
    install.install(tmp_path / "venv")
    for found, reason in (({"gpu": True}, "a GPU was found"), ({"torch": "cuda"}, "TORCH=cuda")):
        machine(**found)
        with pytest.raises(install.SetupError, match=f"for cpu, but {reason}: make clean setup "):
            install.install(tmp_path / "venv")
    for found in ({"gpu": True, "torch": "cpu"}, {"gpu": True}, {}):  # said once is enough
        machine(**found)
        install.install(tmp_path / "venv")
    assert steps.made == ["create", "fill"] and not install.is_for_cuda(tmp_path / "venv")


def test_missing_sources_of_torch_end_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        install, "pip_install", lambda *_: ["sh", "-c", "echo noise >&2; echo none >&2; false"]
    )
    with pytest.raises(install.SetupError, match="no source had PyTorch: is the package index"):
        install.install_torch(tmp_path)
    assert "setup: none\n" in capfd.readouterr().out


def test_second_source_of_torch_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def pip_install(_: Path, *arguments: str) -> list[str]:
        tried.append(arguments[0])
        return ["true"] if len(tried) == 2 else ["false"]

    monkeypatch.setattr(install, "pip_install", pip_install)
    install.install_torch(tmp_path)
    assert tried == ["--no-deps", "--index-url"]


def test_make_help_lists_every_target() -> None:
    makefile = (install.ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)
    helped = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=install.ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.split()[1] for line in helped.stdout.splitlines()] == phony.split()
