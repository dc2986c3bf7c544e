"""`python scripts/train.py …` in a process of its own, forked from one that has imported torch."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.conftest import ROOT

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tests.faults.preloaded"])

# 64 prompts × 4 epochs / 16 a step: 16 steps of some tenths of a second.
SMALL = [
    "dataset.num_prompts=64", "training.epochs=4", "training.prompts_per_step=16",
    "training.prompts_per_minibatch=1", "checkpointing.every=2",
    "evaluation.benchmarks=[in_distribution,longer]", "evaluation.problems_per_benchmark=12",
    "evaluation.num_samples=4", "evaluation.validation_problems=4",
    "evaluation.validation_samples=2", "evaluation.validation_every=5",
    "hardware.rollouts_per_call=16", "tracking.progress_every_seconds=0",
]  # fmt: skip


def run_script(arguments: list[str], log: Path) -> None:
    """Runs the script in the child; its output goes to `log`."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    os.environ.pop("WANDB_API_KEY", None)  # no account of whoever runs the tests
    os.environ.update(HOME=str(log.parent), NETRC=os.devnull)
    from twogrpo.run_record import provenance

    # Editing the package while the tests run must not split one run into two.
    provenance.code_hash = lambda: "one code"
    sys.argv = [str(ROOT / "scripts/train.py"), *arguments]
    runpy.run_path(sys.argv[0], run_name="__main__")


class Script:
    """One launch; `output_dir` is `folder`, its output goes to `folder`.log."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.log = folder.with_name(f"{folder.name}.log")
        typed = [*SMALL, *arguments, f"output_dir={folder}"]
        self.process: BaseProcess = SERVER.Process(target=run_script, args=(typed, self.log))
        self.process.start()

    def wait(self, seconds: float = 100) -> int:
        """Waits for the end; returns the exit code, −9 after a kill."""
        self.process.join(seconds)
        code = self.process.exitcode
        if code is None:
            self.process.kill()
            raise TimeoutError(f"still running after {seconds} s:\n{self.words()}")
        return code

    def when(self, happens: Callable[[], bool], seconds: float = 100) -> bool:
        """Waits for an event; returns whether it came before the end of the process."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if happens():
                return True
            if not self.process.is_alive():
                return False
            time.sleep(0.0005)
        raise TimeoutError(f"nothing in {seconds} s:\n{self.words()}")

    def kill(self) -> int:
        """Sends SIGKILL; returns the exit code, not −9 where the process had ended already."""
        self.process.kill()
        return self.wait()

    def words(self) -> str:
        """The output so far, also that of earlier launches on this folder."""
        return self.log.read_text() if self.log.exists() else ""


def finished(folder: Path, *arguments: str) -> str:
    """Runs to the end; returns the output."""
    script = Script(folder, *arguments)
    code = script.wait()
    assert code == 0, script.words()
    return script.words()
