"""The mirror of a run's record in W&B, whose failures never end a run.

Without a network, an account, its process or a writable folder there is one warning, and the run
goes on with its record in `metrics.jsonl`.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twogrpo.errors import escape_control_chars

if TYPE_CHECKING:
    from twogrpo.run_record.provenance import Recorded

# How long W&B may keep a run waiting, at its start and at its end.
WAIT_SECONDS = 30


class Mirror:
    """A W&B run under the names of the record; silent once it is lost."""

    def __init__(self, config: Recorded, about: Mapping[str, Any]) -> None:
        """Opens the W&B run; online falls back to offline, to be sent later with `wandb sync`."""
        import wandb  # not needed by a local run

        self._wandb = wandb
        self._config, self._about = config, about
        self._run: Any = None
        mode = str(config.tracking.wandb_mode)
        if not self._attempt(self._open, mode) and mode == "online":
            self._attempt(self._open, "offline")

    def log(self, row: Mapping[str, Any]) -> None:
        """Sends a row under its step."""
        if self._run:
            values = {k: v for k, v in row.items() if k != "step"}
            self._attempt(lambda: self._run.log(values, step=row["step"]))

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Sends the summary and ends the W&B run."""
        if self._run:
            self._attempt(lambda: self._run.summary.update({**summary, "status": "finished"}))
        self.end(0)

    def end(self, exit_code: int) -> None:
        """Ends the W&B run; an exit code other than 0 marks it as not finished."""
        if self._run:
            self._attempt(lambda: self._run.finish(exit_code=exit_code))

    def _open(self, mode: str) -> None:
        config, about = self._config, self._about
        # W&B itself would fall back to a temporary folder, where nobody would look.
        probe = Path(config.output_dir) / "wandb" / ".probe"
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
        waits = dict.fromkeys(("init_timeout", "finish_timeout"), WAIT_SECONDS)
        arm, tracking = config.algorithm, config.tracking
        names = {"project": tracking.wandb_project, "group": tracking.wandb_group}
        names |= {"name": config.run_name, "id": about["run_id"]}
        if names != (taken := accepted(names)):
            sys.stderr.write(f"W&B knows this run as {taken['project']}/{taken['id']}\n")
        self._run = self._wandb.init(
            **taken,
            tags=[arm.name[:64], f"G={arm.group_size}", f"seed={config.seed}"],
            config={**about["config"], "_run": {k: v for k, v in about.items() if k != "config"}},
            mode=mode,  # type: ignore[arg-type]  # checked
            dir=config.output_dir,
            resume="allow",
            settings=self._wandb.Settings(
                silent=True, console="off", x_disable_stats=True, **waits
            ),
        )

    def _attempt(self, action: Callable[..., None], *arguments: str) -> bool:
        """Whether the action worked; if not, the mirror is lost, with one warning."""
        try:
            action(*arguments)
        except Exception as error:  # noqa: BLE001 - W&B's errors have no common name
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            folder, instead = self._config.output_dir, "tracking=local does without W&B"
            if arguments == ("online",):  # offline is tried next
                instead = f"`wandb sync {folder}/wandb/offline-run-*` sends it later"
            sys.stderr.write(
                f"WARNING: W&B is lost ({escape_control_chars(reason)}). The run goes on, "
                f"{folder}/metrics.jsonl has every row; {instead}\n"
            )
            self._run = None
            # Otherwise W&B complains again, at length, when the process ends.
            with suppress(Exception):
                self._wandb.teardown()
            return False
        return True


def accepted(names: Mapping[str, str]) -> dict[str, Any]:
    """The names as W&B takes them: 128 characters; in an id and a project no `/` or `:`.

    A changed name ends with a hash, so that names differ as before.

    >>> accepted({"id": "exp/one:a", "group": "a/b"})
    {'id': 'exp-one-a-2dda482c', 'group': 'a/b'}
    """
    taken = dict(names)
    for kind, name in names.items():
        # W&B also names files by the id, in whose names ASCII alone is short.
        plain = re.sub(r"[^A-Za-z0-9._+=-]", "-", name) if kind in ("id", "project") else name
        if plain != name or len(plain) > 128:
            taken[kind] = f"{plain[:119]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return taken
