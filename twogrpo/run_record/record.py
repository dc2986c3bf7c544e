"""A run's record: its provenance, its metrics as JSON lines, and their mirror in W&B.

The folder of a run:

    run.json        config, identity, commit, code hash, versions, hardware, prompts used and
                    dropped, status, cause of an early end, summary
    metrics.jsonl   one row a step and a final row, see twogrpo/run_record/rows.py
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
from typing import TYPE_CHECKING, Any

from twogrpo.config.identity import flatten
from twogrpo.errors import ConfigError
from twogrpo.run_record import provenance
from twogrpo.run_record.files import (
    METRICS_FILE,
    RUN_FILE,
    read_rows,
    read_run_file,
    write_atomically,
)
from twogrpo.run_record.wandb_mirror import Mirror

if TYPE_CHECKING:
    from twogrpo.run_record.provenance import Recorded


class RunRecord:
    """The open record of one run."""

    def __init__(
        self,
        config: Recorded,
        *,
        sandbox: str | None = None,
        prompts: Mapping[str, Any] | None = None,
        end_tokens: Mapping[str, str] | None = None,
    ) -> None:
        """Opens `config.output_dir` and creates it if need be.

        `sandbox` isolates the programs of a reward; `prompts` counts the used and the dropped ones,
        `end_tokens` names by id what ends a response.

        Raises:
            ConfigError: the folder is another run's (see `earlier_run`) or cannot be written.
        """
        self.folder = Path(config.output_dir)
        self._run_file = self.folder / RUN_FILE
        self._metrics_file = self.folder / METRICS_FILE
        self.about = provenance.metadata(config) | {
            "sandbox": sandbox,
            "prompts": prompts,
            "end_tokens": end_tokens,
        }
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
        """Removes the rows of `step` and later, and a half-written last line."""
        if not self._metrics_file.exists():
            return
        kept = [row for row in self.rows() if row["step"] < step]
        write_atomically(self._metrics_file, "".join(json.dumps(row) + "\n" for row in kept))

    def log(self, row: Mapping[str, Any]) -> None:
        """Appends a row; `row["step"]` is its step, counted from 0."""
        with self._metrics_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())
        if self._mirror:
            self._mirror.log(row)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Marks the run as finished, with its summary."""
        self.summary = dict(summary)
        self._write_status("finished")
        if self._mirror:
            self._mirror.finish(self.summary)

    def interrupt(self, by: str) -> None:
        """Marks the run as interrupted by "SIGTERM" or an error of that name; closes the mirror."""
        self.mark_interrupted(by)
        if self._mirror:
            self._mirror.end(1)

    def mark_interrupted(self, by: str) -> None:
        """Marks the run as interrupted in the record alone, when there is no time for more.

        On a full disk, which may be the cause, the status stays "running".
        """
        with suppress(OSError):
            self._write_status("interrupted", by)

    def _write_status(self, status: str, ended_by: str | None = None) -> None:
        ended = {"ended_by": ended_by} if ended_by else {}
        content = {**self.about, "status": status, **ended, "summary": self.summary}
        write_atomically(self._run_file, json.dumps(content, indent=1) + "\n")


class NullRecord(RunRecord):
    """The record on all ranks but the first: it names the same folder and writes nothing."""

    def __init__(self, config: Recorded) -> None:
        """Opens nothing."""
        self.folder = Path(config.output_dir)
        self.about = provenance.metadata(config)

    def _do_nothing(self, *_: Any, **__: Any) -> None:
        """Writes nothing: the first rank does."""

    truncate = log = finish = interrupt = mark_interrupted = _do_nothing


def earlier_run(config: Recorded) -> dict[str, Any]:
    """Returns the `run.json` in `config.output_dir` of the same run; empty where there is none.

    Raises:
        ConfigError: the folder belongs to another config, to other code, or `resume` is never.
    """
    folder = config.output_dir
    earlier = read_run_file(Path(folder))
    if not earlier:
        return {}
    if earlier["identity"] != config.identity():
        difference = first_difference(earlier["config"], config.identifying())
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
    """Whether the same run is finished already; says so on stderr.

    Raises:
        ConfigError: see `earlier_run`.
    """
    done = earlier_run(config).get("status") == "finished"
    if done:
        sys.stderr.write(f"{config.output_dir} is finished, nothing to do\n")
    return done


def first_difference(earlier: dict[str, Any], current: Mapping[str, Any]) -> str:
    """The first identifying value of `current` that another configuration has otherwise.

    `earlier` is a configuration by section, `current` are identifying values by dotted key.

    >>> first_difference({"seed": 0, "training": {"epochs": 1}}, {"seed": 0, "training.epochs": 2})
    'training.epochs=1 there, 2 here'
    """
    there = flatten(earlier)
    for key, value in current.items():
        if there.get(key) != value:
            return f"{key}={there.get(key)} there, {value} here"
    return "a key is gone"
