"""A run's record: its provenance, its metrics as JSON lines, and their mirror in W&B.

The folder of a run:

    run.json        config, identity, hashes of the files read, commit, code hash, versions,
                    hardware, prompts used and dropped, status, cause of an early end, summary
    metrics.jsonl   one row a step and a final row, see twogrpo/run_record/rows.py
    checkpoints/    see twogrpo/policy/checkpoint.py
    evaluation/     every sample of the final evaluation, see twogrpo/run_record/eval_samples.py
    final/          the trained policy, as `transformers` loads it
    final_adapter/  its adapters alone, as `peft` loads them, where it has any
    failed_rank     the error of a rank other than the first, until the run is started again
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
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from twogrpo.config.identity import flatten
from twogrpo.config.output_folder import check_name, check_output_folder, claim, refuse_busy
from twogrpo.errors import ConfigError
from twogrpo.run_record import provenance
from twogrpo.run_record.files import (
    FAILED_RANK_FILE,
    METRICS_FILE,
    RUN_FILE,
    read_rows,
    read_run_file,
    write_atomically,
)
from twogrpo.run_record.inputs import Files, first_change, read_inputs
from twogrpo.run_record.wandb_mirror import Mirror

if TYPE_CHECKING:
    from twogrpo.run_record.provenance import Recorded


class RunRecord:
    """The open record of one run."""

    def __init__(
        self,
        config: Recorded,
        *,
        files: Files = MappingProxyType({}),
        sandbox: str | None = None,
        prompts: Mapping[str, Any] | None = None,
        end_tokens: Mapping[str, str] | None = None,
    ) -> None:
        """Opens `config.output_dir`, creates it if need be, and locks it until it is closed.

        `files` are those that the configuration names, `sandbox` isolates the programs of a reward;
        `prompts` counts the used and the dropped ones, `end_tokens` names by id what ends a
        response.

        Raises:
            ConfigError: the folder is another run's (see `earlier_run`) or cannot be written.
        """
        earlier_run(config, files)  # refuses before the lock is written
        self.folder = Path(config.output_dir)
        self._run_file = self.folder / RUN_FILE
        self._metrics_file = self.folder / METRICS_FILE
        self._lock = claim("output_dir", self.folder)
        (self.folder / FAILED_RANK_FILE).unlink(missing_ok=True)
        known = earlier_run(config, files).get("inputs", {})
        self.about = provenance.metadata(config, read_inputs(files, known)) | {
            "sandbox": sandbox,
            "prompts": prompts,
            "end_tokens": end_tokens,
        }
        self.summary: dict[str, Any] = {}
        self._write_status("running")
        self._mirror = Mirror(config, self.about) if config.tracking.wandb_mode else None

    def rows(self) -> list[dict[str, Any]]:
        """The rows logged so far."""
        return read_rows(self.folder)

    def truncate(self, step: int) -> None:
        """Removes the rows of `step` and later, and a half-written last line.

        Raises:
            ConfigError: a row of an earlier step is missing.
        """
        kept = [row for row in self.rows() if row["step"] < step]
        if len(kept) < step:
            raise ConfigError(
                f"{self._metrics_file} has no row of step {len(kept)}, but the checkpoint "
                f"continues at step {step}: restore the file, or delete the run and train again"
            )
        if not self._metrics_file.exists():
            return
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
        """Marks the run as finished, with its summary, and closes the record."""
        self.summary = dict(summary)
        self._write_status("finished")
        if self._mirror:
            self._mirror.finish(self.summary)
        self._lock.release()

    def interrupt(self, by: str) -> None:
        """Marks the run as interrupted by "SIGTERM" or an error of that name; closes the record."""
        self.mark_interrupted(by)
        if self._mirror:
            self._mirror.end(1)
        self._lock.release()

    def mark_interrupted(self, by: str) -> None:
        """Marks the run as interrupted in the record alone, when there is no time for more.

        Where another rank has failed, its error is the cause: `torchrun` then sends SIGTERM to this
        one. On a full disk, which may be the cause, the status stays "running".
        """
        failed = self.folder / FAILED_RANK_FILE
        with suppress(OSError):
            by = failed.read_text(encoding="utf-8") if failed.exists() else by
            self._write_status("interrupted", by)

    def _write_status(self, status: str, ended_by: str | None = None) -> None:
        ended = {"ended_by": ended_by} if ended_by else {}
        content = {**self.about, "status": status, **ended, "summary": self.summary}
        write_atomically(self._run_file, json.dumps(content, indent=1) + "\n")


class NullRecord(RunRecord):
    """The record on all ranks but the first: it has the same content and writes nothing, but the
    error that ends this rank, for the first one."""

    def __init__(self, config: Recorded, about: dict[str, Any]) -> None:
        """Opens nothing; `about` is the first rank's."""
        self.folder = Path(config.output_dir)
        self.about = about

    def _do_nothing(self, *_: Any, **__: Any) -> None:
        """Writes nothing: the first rank does."""

    truncate = log = finish = mark_interrupted = _do_nothing

    def interrupt(self, by: str) -> None:
        """Leaves the name of the error, unless it is "SIGTERM"."""
        if by != "SIGTERM":
            with suppress(OSError):
                (self.folder / FAILED_RANK_FILE).write_text(by, encoding="utf-8")


def earlier_run(config: Recorded, files: Files = MappingProxyType({})) -> dict[str, Any]:
    """Returns the `run.json` in `config.output_dir` of the same run; empty where there is none.

    Raises:
        ConfigError: the folder is somebody else's; another process is at work there; or it belongs
            to another config, other code or other content of `files`; or its rows are damaged; or
            `resume` is never.
    """
    if config.run_name or "checkpoint" not in vars(config):  # an evaluation gets its name later
        check_name("run_name", config.run_name)
    # A process that is killed before run.json is complete leaves a lock and half a file.
    own = (f"{RUN_FILE}.tmp", "wandb")  # W&B only ever adds to its folder
    folder = check_output_folder("output_dir", config.output_dir, marks=(RUN_FILE,), own=own)
    refuse_busy("output_dir", folder)
    earlier = read_run_file(folder)
    if not earlier:
        return {}
    read_rows(folder)  # a damaged one is refused before the model is loaded
    inputs = earlier.get("inputs", {})
    about = {"identity": provenance.identity(config, inputs), "code": provenance.code_hash()}
    refuse_other_run(f"output_dir={folder}", earlier, about, config)
    if inputs and (changed := first_change(inputs, read_inputs(files, inputs))):
        raise ConfigError(
            f"{changed} is not what it was when output_dir={folder} was made: restore it, or give "
            "a new folder, output_dir=…"
        )
    if config.resume == "never":
        raise ConfigError(
            f"output_dir={folder} holds a run and resume=never: use resume=auto or a new folder"
        )
    return earlier


def refuse_other_run(
    what: str, earlier: Mapping[str, Any], about: Mapping[str, Any], config: Recorded
) -> None:
    """Raises ConfigError if `earlier`, read at `what`, is of another configuration or code."""
    if earlier["identity"] != about["identity"]:
        difference = first_difference(earlier["config"], config.identifying())
        raise ConfigError(
            f"{what} belongs to another config ({difference}): give a new folder, output_dir=…, or "
            "delete this one"
        )
    if earlier["code"] != about["code"]:
        raise ConfigError(
            f"{what} was made by other code ({earlier['code']} there, {about['code']} here), the "
            "two would not be one run: give a new folder, output_dir=…, or delete this one"
        )


def is_finished(config: Recorded, files: Files = MappingProxyType({})) -> bool:
    """Whether the same run is finished already; says so on stderr.

    Raises:
        ConfigError: see `earlier_run`; or its rows are gone.
    """
    done = earlier_run(config, files).get("status") == "finished"
    if done:
        if not read_rows(Path(config.output_dir)):
            raise ConfigError(
                f"output_dir={config.output_dir} is finished, but its {METRICS_FILE} is empty: "
                "restore it, or give a new folder"
            )
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
        section = {k: v for k, v in there.items() if k.startswith(f"{key}.")}  # null here
        if section or there.get(key) != value:
            return f"{key}={section or there.get(key)} there, {value} here"
    return "a key, or a file that it names, is another"
