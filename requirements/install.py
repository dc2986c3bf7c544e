"""Makes .venv hold exactly what requirements/*.lock says: all of `make setup`.

Runs before anything is installed, so it knows the standard library only. What is done is not done
again; what was interrupted continues; what was taken away is put back; a changed lock makes a new
environment.
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent
BUILD, PACKAGES, TORCH, TORCH_CPU = LOCKS = [
    ROOT / "requirements" / f"{name}.lock" for name in ("build", "all", "torch", "torch_cpu")
]
PYTORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
OLDEST_DRIVER = 580  # of CUDA 13, which the package index's PyTorch is built with
UNREACHABLE = "is the package index reachable? then type it again"


class SetupError(Exception):
    """What the reader has to know and do, in one line."""


def main() -> None:
    """Brings .venv to the state the locks describe, or says in one line why not."""
    try:
        with one_at_a_time(ROOT / ".cache" / "setup"):
            install(ROOT / ".venv")
    except SetupError as error:
        sys.exit(f"setup: {error}")
    except KeyboardInterrupt:
        sys.exit("setup: interrupted; `make setup` continues from here")


@contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Lets a second `make` wait for the first one instead of installing over it."""
    lock.parent.mkdir(exist_ok=True)
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for the one that is already running")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def install(venv: Path) -> None:
    """Creates `venv` where it is missing, outdated or broken, and fills it."""
    found = read_state(venv / "state")
    wanted = [fingerprint(LOCKS), *choose_build(found)]
    if venv.exists() and not (venv / "state").exists() and any(venv.iterdir()):
        raise SetupError(f"{venv} was not made by `make setup`: move it away or delete it")
    parts = ("bin/python", "pyvenv.cfg", "lib/python3.*/site-packages")
    whole = all(next(venv.glob(part), venv / "missing").exists() for part in parts)
    if whole and found[1:2] == wanted[:1]:
        keep_python(site_packages(venv).parent.name)
    else:
        create(venv)
    bring_to(venv, "state", wanted, lambda: fill(venv))


def bring_to(venv: Path, name: str, wanted: list[str], fill: Callable[[], None]) -> None:
    """Fills `venv` unless the state file `name` says that it is done and nothing has gone since.

    The file's first line: how far it is, what it is made from, which build was asked for, if one
    was. The others: the packages.
    """
    state, site = venv / name, site_packages(venv)
    packages = state.read_text().splitlines()[1:] if state.exists() else []
    done = read_state(state)[:2] == ["ready", wanted[0]]
    if not done or not all(is_complete(site / package) for package in packages):
        state.write_text(" ".join(["filling", *wanted]))
        for leftover in [
            *(info for info in infos(site) if not is_complete(info)),
            *site.glob("~*"),
        ]:
            shutil.rmtree(leftover, ignore_errors=True)  # so that pip installs the package again
        fill()
        packages = sorted(info.name for info in infos(site))
        say("ready")
    if (text := "\n".join([" ".join(["ready", *wanted]), *packages])) != state.read_text():
        state.write_text(text)


def read_state(state: Path) -> list[str]:
    """The words of a state file's first line; none where there is no file."""
    return state.read_text().partition("\n")[0].split() if state.exists() else []


def infos(site: Path) -> list[Path]:
    """The folder of each installed package in which pip keeps what it knows of it."""
    return list(site.glob("*.dist-info"))


def is_complete(info: Path) -> bool:
    """Whether pip finished a package, and each of its files is there in its length."""
    try:
        with (info / "RECORD").open(newline="") as file:
            files = [(info.parent / path, int(size)) for path, _, size in csv.reader(file) if size]
        # pip writes INSTALLER when all else is there.
        return (info / "INSTALLER").exists() and all(p.stat().st_size == n for p, n in files)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False


def choose_build(state: list[str]) -> list[str]:
    """The PyTorch asked for, by TORCH or a GPU: ["cpu"] or ["cuda"]; by neither, [].

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
    if asked == ["cuda"] and recorded != asked and (missing := old_driver()):
        raise SetupError(f"{missing[0]}, or make setup TORCH=cpu")
    return asked


def keep_python(present: str) -> None:
    """Refuses a PYTHON given to `make` that is not the one, as "python3.12", that .venv is for."""
    wish, version = os.environ.get("PYTHON"), "python{}.{}".format(*sys.version_info)
    if wish and present != version:
        raise SetupError(
            f".venv was made with {present}, but PYTHON={wish} is {version}: "
            f"make clean setup PYTHON={wish}, or leave PYTHON out to keep it"
        )


def is_for_cuda(venv: Path) -> bool:
    """Whether `venv` is for PyTorch's CUDA build."""
    return read_state(venv / "state")[2:] == ["cuda"]


def fingerprint(locks: list[Path]) -> str:
    """The hash of what decides what an environment holds."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in locks)).hexdigest()


def create(venv: Path) -> None:
    """Makes an empty virtual environment, in place of an outdated one."""
    say(f"making .venv with Python {platform.python_version()}")
    outdated = venv.with_name(".venv-outdated")
    shutil.rmtree(outdated, ignore_errors=True)
    if venv.exists():
        venv.rename(outdated)  # at once, so that no kill leaves half of it without its state
    shutil.rmtree(outdated, ignore_errors=True)
    venv.mkdir()
    (venv / "state").write_text("creating")
    apt = "apt install python{}.{}-venv".format(*sys.version_info)
    run(sys.executable, "-m", "venv", str(venv), remedy=f"on Debian: {apt}")


def fill(venv: Path) -> None:
    """Installs the build tool, the locked packages and PyTorch; puts the repository on the path."""
    if not list(site_packages(venv).glob("pip-*.dist-info")):
        run(python(venv), "-I", "-m", "ensurepip", remedy="make clean setup")
    run(*pip_install(venv, BUILD), remedy=UNREACHABLE)
    say("installing the locked packages (a minute or two)")
    no_newer_tools = ["--no-build-isolation", "--use-pep517"]
    run(*pip_install(venv, PACKAGES, *no_newer_tools), remedy=UNREACHABLE)
    install_torch(venv)
    # Relative to site-packages, so that a moved repository still finds itself.
    (site_packages(venv) / "twogrpo.pth").write_text("../../../..\n")
    run(python(venv), "-c", "import torch, transformers", remedy="make clean setup")


def install_torch(venv: Path) -> None:
    """Installs PyTorch from the first source that has it."""
    for words, lock, *options in torch_sources(cpu_only=not is_for_cuda(venv)):
        say(f"installing PyTorch: {words}")
        attempt = subprocess.run(
            pip_install(venv, lock, *options), stderr=subprocess.PIPE, text=True
        )
        if attempt.returncode == 0:
            return
        say(attempt.stderr.strip().rpartition("\n")[2])
    raise SetupError(f"no source had PyTorch: {UNREACHABLE}")


def torch_sources(*, cpu_only: bool) -> list[tuple]:
    """Where to look for PyTorch, best first, as (words, lock, options of pip install…).

    Without a GPU the CPU build (0.2 GB) is wanted: pip's own configuration may offer one, PyTorch's
    index does; where neither answers, the package index's CUDA build (3 GB) works on a CPU too.
    """
    if not cpu_only or platform.system() != "Linux":  # elsewhere the default is a CPU build
        return [("the package index's build", TORCH)]
    pytorch = ["--index-url", PYTORCH_CPU_INDEX, "--timeout", "15", "--retries", "1"]
    return [
        ("the CPU build, if pip is configured for one", TORCH_CPU),
        ("the CPU build from pytorch.org", TORCH_CPU, *pytorch),
        ("no CPU build found, so the package index's CUDA build (about 3 GB)", TORCH),
    ]


def has_gpu(wish: str) -> bool:
    """Whether to install for CUDA: what TORCH=cpu or TORCH=cuda says, else nvidia-smi."""
    if wish not in ("", "cpu", "cuda"):
        raise SetupError(f"TORCH={wish} is unknown: use TORCH=cpu or TORCH=cuda, or leave it out")
    if wish or not shutil.which("nvidia-smi"):
        return wish == "cuda"
    return subprocess.run(["nvidia-smi", "-L"], capture_output=True).stdout.startswith(b"GPU")


def old_driver() -> list[str]:
    """Why this machine's NVIDIA driver does not do, with the remedy; nothing without a driver."""
    if not shutil.which("nvidia-smi"):
        return []
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    driver = subprocess.run(query, capture_output=True, text=True, encoding="utf-8").stdout.strip()
    number = driver.partition(".")[0]
    if not number.isdecimal() or int(number) >= OLDEST_DRIVER:
        return []
    found = driver.partition("\n")[0]
    return [f"the NVIDIA driver {found} is older than {OLDEST_DRIVER}, CUDA 13's oldest: update it"]


def missing_for_cuda() -> list[str]:
    """What vLLM for CUDA needs of this machine and it lacks, each with its remedy."""
    missing, header = old_driver(), Path(sysconfig.get_paths()["include"]) / "Python.h"
    named = os.environ.get("CC")  # Triton takes this one or none, and never `cc`
    if not any(map(shutil.which, ("gcc", "clang") if named is None else (named,))):
        no = "no C compiler is here" if named is None else f"CC={named} is no compiler here"
        remedy = "apt install gcc, or conda install c-compiler" if named is None else "unset CC"
        missing.append(f"{no}, and Triton builds with one: {remedy}")
    if not header.is_file():
        package = "python{}.{}-dev".format(*sys.version_info)
        missing.append(f"{header} is missing, and Triton builds with it: apt install {package}")
    return missing


def site_packages(venv: Path) -> Path:
    """The folder that packages go to."""
    return next(venv.glob("lib/python3.*/site-packages"))


def python(venv: Path) -> str:
    """The environment's interpreter."""
    return str(venv / "bin" / "python")


def pip_install(venv: Path, lock: Path, *options: str) -> list[str]:
    """A quiet `pip install` of a lock; -I keeps a PYTHONPATH from counting as installed."""
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
    exactly = ["--no-deps", "--require-hashes", "-r", str(lock)]
    return [python(venv), "-I", "-m", "pip", "install", *quiet, *options, *exactly]


def run(*command: str, remedy: str) -> None:
    """Runs a command, its output shown as it comes; names the remedy if it fails."""
    if code := subprocess.run(command).returncode:
        raise SetupError(f"`{' '.join(command)}` failed with exit code {code}: {remedy}")


def say(words: str) -> None:
    """Tells the reader what takes the time."""
    print(f"setup: {words}", flush=True)


if __name__ == "__main__":
    main()
