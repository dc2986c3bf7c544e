"""A run's record: who it was, its metrics as JSON lines, and their mirror in W&B, same names.

The folder of a run:

    run.json        config, identity, commit, code hash, versions, hardware, prompts used and
                    dropped, status, what ended it before its time, summary
    metrics.jsonl   one row a step; rows of the final evaluation have `evaluation/…` keys
    checkpoints/    see twogrpo/policy/checkpoint.py
    evaluation/     every sample of the final evaluation, see twogrpo/run_record/eval_samples.py
    final/          the trained policy, as `transformers` loads it
    wandb/          the offline mirror

The JSON lines are the truth: flushed to disk row by row, they survive what W&B's file does not.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from twogrpo.config.schema import identifying
from twogrpo.errors import ConfigError
from twogrpo.run_record import provenance
from twogrpo.run_record.files import read_rows, read_run_file, write_atomically
from twogrpo.run_record.provenance import Recorded
from twogrpo.run_record.wandb_mirror import Mirror


class RunRecord:
    """The open record of one run."""

    def __init__(
        self,
        config: Recorded,
        *,
        sandbox: str | None = None,
        prompts: Mapping[str, Any] | None = None,
    ) -> None:
        """Opens `config.output_dir`, made if need be; `sandbox` isolates the programs of a reward,
        `prompts` says how many of which are used and how many were dropped.

        Raises:
            ConfigError: the folder is another run's (see `earlier_run`) or cannot be written.
        """
        self.folder = Path(config.output_dir)
        self._run_file = self.folder / "run.json"
        self._metrics_file = self.folder / "metrics.jsonl"
        self.about = provenance.metadata(config) | {"sandbox": sandbox, "prompts": prompts}
        earlier_run(config)
        self.summary: dict[str, Any] = {}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._write_status("running")
        except OSError as error:
            raise ConfigError(
                f"output_dir={config.output_dir} cannot be written ({error.strerror}): "
                "give a folder that can, output_dir=…"
            ) from error
        self._mirror = Mirror(config, self.about) if config.tracking.wandb_mode else None

    def rows(self) -> list[dict[str, Any]]:
        """The rows logged so far."""
        return read_rows(self.folder)

    def truncate(self, step: int) -> None:
        """Drops the rows of `step` and later, and a half-written last line: they are done again."""
        if not self._metrics_file.exists():
            return
        lines = self._metrics_file.read_text().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]
        kept = [line for line in whole if json.loads(line)["step"] < step]
        write_atomically(self._metrics_file, "".join(kept))

    def log(self, row: Mapping[str, Any]) -> None:
        """Appends a row; `row["step"]` is its step, counted from 0."""
        with self._metrics_file.open("a") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())
        if self._mirror:
            self._mirror.log(row)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Marks the run as finished, with the numbers that are about the whole of it."""
        self.summary = dict(summary)
        self._write_status("finished")
        if self._mirror:
            self._mirror.finish(self.summary)

    def interrupt(self, by: str) -> None:
        """Says that the run stopped before its end, by "SIGTERM" or an error of that name, and
        closes the mirror.
        """
        self.mark_interrupted(by)
        if self._mirror:
            self._mirror.interrupt()

    def mark_interrupted(self, by: str) -> None:
        """Says it in the record alone, where there is no time for more.

        Where even that cannot be written, a full disk being why it stopped, it stays "running".
        """
        with suppress(OSError):
            self._write_status("interrupted", by)

    def _write_status(self, status: str, ended_by: str | None = None) -> None:
        ended = {"ended_by": ended_by} if ended_by else {}
        content = {**self.about, "status": status, **ended, "summary": self.summary}
        write_atomically(self._run_file, json.dumps(content, indent=1) + "\n")


class NullRecord(RunRecord):
    """The record as all ranks but the first have it: of the same folder, written by another."""

    def __init__(self, config: Recorded) -> None:
        """Touches nothing."""
        self.folder = Path(config.output_dir)
        self.about = provenance.metadata(config)

    def truncate(self, step: int) -> None:
        """The first rank does."""

    def log(self, row: Mapping[str, Any]) -> None:
        """The first rank does."""

    def finish(self, summary: Mapping[str, Any]) -> None:
        """The first rank does."""

    def mark_interrupted(self, by: str) -> None:
        """The first rank does."""

    def interrupt(self, by: str) -> None:
        """The first rank does."""


def earlier_run(config: Recorded) -> dict[str, Any]:
    """What `run.json` in `config.output_dir` says of the same run; empty where there is none.

    Raises:
        ConfigError: the folder belongs to another config, to other code, or `resume` is never.
    """
    folder = config.output_dir
    earlier = read_run_file(Path(folder))
    if not earlier:
        return {}
    if earlier["identity"] != config.identity():
        difference = _first_difference(earlier["config"], config)
        raise ConfigError(
            f"output_dir={folder} belongs to another config ({difference}): "
            "give a new folder, output_dir=…, or delete this one"
        )
    code = provenance.code_hash()
    if earlier["code"] != code:
        raise ConfigError(
            f"output_dir={folder} was made by other code ({earlier['code']} there, {code} "
            "here), the two would not be one run: give a new folder, output_dir=…, or delete this"
        )
    if config.resume == "never":
        raise ConfigError(
            f"output_dir={folder} holds a run and resume=never: use resume=auto or a new folder"
        )
    return earlier


def is_finished(config: Recorded) -> bool:
    """Whether the very same run is done already, so that nothing is left to do; says so.

    Raises:
        ConfigError: as `earlier_run`.
    """
    done = earlier_run(config).get("status") == "finished"
    if done:
        sys.stderr.write(f"{config.output_dir} is finished, nothing to do\n")
    return done


def _first_difference(earlier: dict[str, Any], config: Recorded) -> str:
    there, here = identifying(earlier), config.identifying()
    for key in here:
        if there.get(key) != here[key]:
            return f"{key}={there.get(key)} there, {here[key]} here"
    return "a key is gone"
