"""A run's record: who it was, its metrics as JSON lines, and their mirror in W&B, same names.

The folder of a run:

    run.json        config, identity, commit, code hash, versions, hardware, status, summary
    metrics.jsonl   one row a generation; rows of the final evaluation have `evaluation/…` keys
    checkpoints/    see twogrpo/engines/checkpoint.py
    evaluation/     every sample of the final evaluation, see twogrpo/evaluation_samples.py
    final/          the trained policy, as `transformers` loads it
    wandb/          the offline mirror

The JSON lines are the truth: flushed to disk row by row, they survive what W&B's file does not.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from twogrpo.config import Config, ConfigError, EvaluateConfig

ROOT = Path(__file__).resolve().parent.parent
Recorded = Config | EvaluateConfig
PACKAGES = ("torch", "transformers", "vllm", "hydra-core", "wandb", "numpy")


class RunRecord:
    """The open record of one run."""

    def __init__(self, config: Recorded) -> None:
        """Opens `config.output_dir`, made if need be.

        Raises:
            ConfigError: the folder belongs to another config, or is used and `resume` is never.
        """
        self.folder = Path(config.output_dir)
        self._run_file = self.folder / "run.json"
        self._metrics_file = self.folder / "metrics.jsonl"
        self.about = _about(config)
        earlier = self._earlier(config)
        self.is_finished = earlier.get("status") == "finished"
        self.summary: dict[str, Any] = earlier.get("summary", {})
        self._wandb: Any = None
        if self.is_finished:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._write_status("running")
        except OSError as error:
            raise ConfigError(
                f"output_dir={config.output_dir} cannot be written ({error.strerror}): "
                "give a folder that can, output_dir=…"
            ) from error
        self._wandb = _open_wandb(config, self.about)

    def rows(self) -> list[dict[str, Any]]:
        """The rows logged so far."""
        if not self._metrics_file.exists():
            return []
        return [json.loads(line) for line in self._metrics_file.read_text().splitlines()]

    def rewind(self, step: int) -> None:
        """Drops the rows of `step` and later, and a half-written last line: they are done again."""
        if not self._metrics_file.exists():
            return
        lines = self._metrics_file.read_text().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]
        kept = [line for line in whole if json.loads(line)["step"] < step]
        write_atomically(self._metrics_file, "".join(kept))

    def log(self, row: Mapping[str, Any]) -> None:
        """Appends a row; `row["step"]` is its generation, counted from 0."""
        with self._metrics_file.open("a") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())
        if self._wandb:
            self._wandb.log({k: v for k, v in row.items() if k != "step"}, step=row["step"])

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Marks the run as finished, with the numbers that are about the whole of it."""
        self.summary = dict(summary)
        self._write_status("finished")
        if self._wandb:
            self._wandb.summary.update({**self.summary, "status": "finished"})
            self._wandb.finish()

    def interrupt(self) -> None:
        """Closes the mirror of a run that did not finish."""
        if self._wandb:
            self._wandb.finish(exit_code=1)

    def _write_status(self, status: str) -> None:
        content = {**self.about, "status": status, "summary": self.summary}
        write_atomically(self._run_file, json.dumps(content, indent=1) + "\n")

    def _earlier(self, config: Recorded) -> dict[str, Any]:
        if not self._run_file.exists():
            return {}
        earlier: dict[str, Any] = json.loads(self._run_file.read_text())
        if earlier["identity"] != self.about["identity"]:
            raise ConfigError(
                f"output_dir={config.output_dir} belongs to another config "
                f"({_first_difference(earlier['config'], self.about['config'])}): "
                "give a new folder, output_dir=…, or delete this one"
            )
        if config.resume == "never":
            raise ConfigError(
                f"output_dir={config.output_dir} holds a run and resume=never: "
                "use resume=auto or a new folder"
            )
        return earlier


def write_atomically(path: Path, content: str) -> None:
    """All or nothing: written beside, flushed to disk, renamed."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def code_hash() -> str:
    """Hash of the package's source: a run of other code is another run; a README's edit is not."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "twogrpo").rglob("*.py")):
        digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _about(config: Recorded) -> dict[str, Any]:
    return {
        "run_id": f"{config.run_name}-{config.identity()}",
        "identity": config.identity(),
        "config": asdict(config),
        "commit": _git("rev-parse", "HEAD"),
        "commit_is_dirty": bool(_git("status", "--porcelain", "--", "twogrpo", "conf")),
        "code": code_hash(),
        "versions": {name: _version(name) for name in PACKAGES}
        | {"python": platform.python_version()},
        "hardware": {"cpu": _cpu_name(), "num_cores": os.cpu_count(), "system": platform.system()},
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _open_wandb(config: Recorded, about: Mapping[str, Any]) -> Any:
    if config.tracking.wandb_mode is None:
        return None
    import wandb  # not needed by a local run

    return wandb.init(
        project=config.tracking.wandb_project,
        group=config.tracking.wandb_group,
        name=config.run_name,
        id=about["run_id"],
        tags=[config.algorithm.name, f"G={config.algorithm.group_size}", f"seed={config.seed}"],
        config={**about["config"], "_run": {k: v for k, v in about.items() if k != "config"}},
        mode=config.tracking.wandb_mode,
        dir=config.output_dir,
        resume="allow",
        settings=wandb.Settings(silent=True, console="off", x_disable_stats=True),
    )


def _first_difference(earlier: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> str:
    for key in now:
        if isinstance(now[key], dict) and isinstance(earlier.get(key), dict):
            found = _first_difference(earlier[key], now[key], f"{prefix}{key}.")
            if found:
                return found
        elif earlier.get(key) != now[key] and prefix + key not in ("run_name", "output_dir"):
            return f"{prefix}{key}={earlier.get(key)} there, {now[key]} here"
    return ""


def _git(*arguments: str) -> str:
    try:
        result = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:  # no git: the code hash still says which code ran
        return ""
    return result.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
