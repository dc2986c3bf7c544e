"""Make .venv hold exactly what requirements/*.lock says: all of `make setup`.

Runs before anything is installed, so it knows the standard library only. What is done is not done
again; what was interrupted continues; a changed lock makes a new environment.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
LOCKS = [ROOT / "requirements" / name for name in ("build.lock", "all.lock")]
PYTORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"


class SetupError(Exception):
    """What the reader has to know and do, in one line."""


def main() -> None:
    """Bring .venv to the state the locks describe, or say in one line why not."""
    try:
        require_python(sys.version_info[:2])
        with one_at_a_time(ROOT / ".cache" / "setup"):
            install(ROOT / ".venv")
    except SetupError as error:
        sys.exit(f"setup: {error}")
    except KeyboardInterrupt:
        sys.exit("setup: interrupted; `make setup` continues from here")


def require_python(version: tuple[int, ...]) -> None:
    """Refuse an interpreter that the locks were not made for."""
    if version != (3, 11):
        found = ".".join(map(str, version))
        raise SetupError(
            f"Python 3.11 is needed, not {found}: make setup PYTHON=/path/to/python3.11"
        )


@contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Let a second `make` wait for the first one instead of installing over it."""
    lock.parent.mkdir(exist_ok=True)
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for the one that is already running")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def install(venv: Path) -> None:
    """Create `venv` if it is not there, then install in four steps; `venv`/state says how far."""
    state, found = venv / "state", read_state(venv)
    wanted = [fingerprint(), *choose_build(found)]
    if found[:2] == ["ready", wanted[0]] and (venv / "bin" / "python").exists():
        if found[1:] != wanted:
            state.write_text(" ".join(["ready", *wanted]))
        return
    if venv.exists() and not state.exists() and any(venv.iterdir()):
        raise SetupError(f"{venv} was not made by `make setup`: move it away or delete it")
    if found[:2] != ["filling", wanted[0]]:
        create(venv)
    state.write_text(" ".join(["filling", *wanted]))
    drop_half_installed(site_packages(venv))
    fill(venv)
    state.write_text(" ".join(["ready", *wanted]))
    say("ready")


def read_state(venv: Path) -> list[str]:
    """List how far `venv` is, what it is made from, and which build was asked for, if one was."""
    state = venv / "state"
    return state.read_text().split() if state.exists() else []


def choose_build(state: list[str]) -> list[str]:
    """Say which PyTorch is asked for, by TORCH or a GPU: ["cpu"] or ["cuda"]; by neither, [].

    What was asked for once stays, also on a login node without a GPU; unasked, it is for the CPU.
    """
    wish, recorded = os.environ.get("TORCH", ""), state[2:]
    if recorded and not wish:
        return recorded
    asked = ["cuda"] if has_gpu(wish) else wish.split()
    if len(state) > 1 and (asked == ["cuda"]) != (recorded == ["cuda"]):
        new, old = ("cuda", "cpu") if asked == ["cuda"] else ("cpu", "cuda")
        reason = f"TORCH={wish}" if wish else "a GPU was found"
        raise SetupError(
            f".venv was made for {old}, but {reason}: make clean setup TORCH={new}, "
            f"or make setup TORCH={old} to keep it"
        )
    return asked


def is_for_cuda(venv: Path) -> bool:
    """Tell which build `venv` is for."""
    return read_state(venv)[2:] == ["cuda"]


def fingerprint() -> str:
    """Hash what decides what an environment holds."""
    content = b"".join(path.read_bytes() for path in LOCKS)
    return hashlib.sha256(content + pinned_torch().encode()).hexdigest()


def create(venv: Path) -> None:
    """Make an empty virtual environment, in place of an outdated one."""
    say("making .venv")
    outdated = venv.with_name(".venv-outdated")
    shutil.rmtree(outdated, ignore_errors=True)
    if venv.exists():
        venv.rename(outdated)  # at once, so that no kill leaves half of it without its state
    shutil.rmtree(outdated, ignore_errors=True)
    venv.mkdir()
    (venv / "state").write_text("creating")
    run(sys.executable, "-m", "venv", str(venv), remedy="on Debian: apt install python3.11-venv")


def drop_half_installed(site: Path) -> None:
    """Make pip forget packages it was killed over: it writes INSTALLER when all else is there."""
    halves = [info for info in site.glob("*.dist-info") if not (info / "INSTALLER").exists()]
    for path in [*halves, *site.glob("~*")]:
        shutil.rmtree(path, ignore_errors=True)


def fill(venv: Path) -> None:
    """Install the build tool, the locked packages and PyTorch; put the repository on the path."""
    locked = ["--no-deps", "--require-hashes", "--no-build-isolation", "--use-pep517", "-r"]
    unreachable = "is the package index reachable? then type it again"
    build, packages = map(str, LOCKS)
    run(*pip_install(venv, *locked, build), remedy=unreachable)
    say("installing the locked packages (a minute or two)")
    run(*pip_install(venv, *locked, packages), remedy=unreachable)
    install_torch(venv)  # last, so that it finds what it depends on at the locked versions
    # Relative to site-packages, so that a moved repository still finds itself.
    (site_packages(venv) / "twogrpo.pth").write_text("../../../..\n")
    run(python(venv), "-c", "import torch, transformers", remedy="make clean setup")


def install_torch(venv: Path) -> None:
    """Install PyTorch from the first source that has it."""
    for words, arguments in torch_sources(pinned_torch(), cpu_only=not is_for_cuda(venv)):
        say(f"installing PyTorch: {words}")
        attempt = subprocess.run(pip_install(venv, *arguments), stderr=subprocess.PIPE, text=True)
        if attempt.returncode == 0:
            return
        say(attempt.stderr.strip().rpartition("\n")[2])
    raise SetupError("no source had PyTorch: is the package index reachable? then type it again")


def torch_sources(version: str, *, cpu_only: bool) -> list[tuple[str, list[str]]]:
    """List where to look for PyTorch, best first, as (words, arguments of pip install).

    Not in the lock, because its CPU and CUDA builds of one version have different hashes. Without
    a GPU the CPU build (0.2 GB) is wanted: pip's own configuration may offer one, PyTorch's index
    does; where neither answers, the package index's CUDA build (3 GB) works on a CPU too.
    """
    default = ("the package index's build", [f"torch=={version}"])
    if not cpu_only or platform.system() != "Linux":  # elsewhere the default is a CPU build
        return [default]
    cpu = ["--no-deps", f"torch=={version}+cpu"]
    impatient = ["--timeout", "15", "--retries", "1"]
    return [
        ("the CPU build, if pip is configured for one", cpu),
        ("the CPU build from pytorch.org", ["--index-url", PYTORCH_CPU_INDEX, *impatient, *cpu]),
        ("no CPU build found, so the package index's CUDA build (about 3 GB)", default[1]),
    ]


def has_gpu(wish: str) -> bool:
    """Tell whether to install for CUDA: what TORCH=cpu or TORCH=cuda says, else nvidia-smi."""
    if wish not in ("", "cpu", "cuda"):
        raise SetupError(f"TORCH={wish} is unknown: use TORCH=cpu or TORCH=cuda, or leave it out")
    if wish or not shutil.which("nvidia-smi"):
        return wish == "cuda"
    return subprocess.run(["nvidia-smi", "-L"], capture_output=True).stdout.startswith(b"GPU")


def pinned_torch() -> str:
    """Read PyTorch's version from pyproject.toml."""
    return re.findall(r'"torch==([^"]+)"', (ROOT / "pyproject.toml").read_text())[0]


def site_packages(venv: Path) -> Path:
    """Name the folder that packages go to."""
    return venv / "lib" / "python3.11" / "site-packages"


def python(venv: Path) -> str:
    """Name the environment's interpreter."""
    return str(venv / "bin" / "python")


def pip_install(venv: Path, *arguments: str) -> list[str]:
    """Spell a quiet `pip install`; -I keeps a PYTHONPATH from counting as installed."""
    options = ["--quiet", "--disable-pip-version-check", "--no-input"]
    return [python(venv), "-I", "-m", "pip", "install", *options, *arguments]


def run(*command: str, remedy: str) -> None:
    """Run a command, its output shown as it comes; name the remedy if it fails."""
    if code := subprocess.run(command).returncode:
        raise SetupError(f"`{' '.join(command)}` failed with exit code {code}: {remedy}")


def say(words: str) -> None:
    """Tell the reader what takes the time."""
    print(f"setup: {words}", flush=True)


if __name__ == "__main__":
    main()
