"""Readers of runs: from run folders, offline W&B runs and the W&B API, all as `Record`s.

records:PATH              folders with run.json and metrics.jsonl (the truth)
offline:PATH              folders that W&B wrote offline (*.wandb)
wandb://entity/project    a project on a W&B server
PATH                      run folders if there are any below it, else offline W&B runs
PATH/records.jsonl.xz     the records of a study in one file (analysis/committed/records.py)
"""

from __future__ import annotations

import json
import lzma
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.records.usable import defect
from twogrpo.errors import ConfigError, escape_control_chars
from twogrpo.run_record.files import (
    check_run_file,
    read_lines,
    read_rows,
    read_run_file,
    run_folders,
    with_current_keys,
)
from twogrpo.run_record.rollouts import PAIRS_FILE
from twogrpo.run_record.rows import check_rows

ADAPTERS = "_lora"  # after the name of a model whose adapters are trained
STUDY_FILE = "records.jsonl.xz"
# W&B's transaction log has LevelDB's log format: 32 KiB blocks of checksum, length, type, data.
BLOCK, HEADER = 32768, struct.Struct("<IHB")
FULL, FIRST, LAST = 1, 2, 4


@dataclass
class Record:
    """One run as it was logged: its `run.json`, and its rows by step."""

    about: dict[str, Any]
    status: str
    rows: dict[int, dict[str, Any]]
    where: str
    fault: str = ""  # why it cannot be read, if it cannot
    history: list[str] = field(default_factory=list)  # other places whose rows were joined into it
    pairs: list[dict[str, Any]] = field(default_factory=list)  # of pairs.jsonl

    @property
    def run_id(self) -> str:
        """The id that a resumed run keeps."""
        return str(self.about.get("run_id", self.where))

    @property
    def dataset(self) -> str:
        """The name of the data set."""
        return str(self.about["config"]["dataset"]["name"])

    @property
    def model(self) -> str:
        """The name of the initial model; with adapters it is a model of its own."""
        model = self.about["config"]["model"]
        return f"{model['name']}{ADAPTERS if model.get('lora') else ''}"


def read(source: str) -> list[Record]:
    """All runs of a source, finished or not, in the order of their names.

    Raises:
        ConfigError: the source is no folder, or holds no run.
    """
    if source.startswith("wandb://"):
        records = list(read_api(source.removeprefix("wandb://")))
    else:
        kind, _, path = source.partition(":") if ":" in source else ("", "", source)
        if kind not in ("", "records", "offline"):
            raise ConfigError(
                f"runs={source}: use records:PATH, offline:PATH, wandb://entity/project or a folder"
            )
        folder = Path(path)
        if folder.name == STUDY_FILE and folder.is_file():
            return [_checked(record) for record in read_study(folder)]
        if not folder.is_dir():
            raise ConfigError(
                f"runs={source} is not a folder: train first, or name the runs' folder"
            )
        records = [] if kind == "offline" else list(read_folders(folder))
        if kind == "offline" or (not kind and not records):
            records = join(list(read_offline(folder)))
    if not records:
        raise ConfigError(f"runs={source} holds no run: train first, or name the runs' folder")
    return [_checked(record) for record in records]


def _checked(record: Record) -> Record:
    """The record with its texts escaped; with a fault if what the analysis relies on is missing."""
    values = {name: _escaped(value) for name, value in vars(record).items()}
    if isinstance(values["about"].get("config"), dict):
        values["about"] |= {"config": with_current_keys(values["about"]["config"])}
    record = Record(**values)
    try:
        if not record.fault:
            check_run_file({"status": record.status, **record.about})
            check_rows([record.rows[step] for step in sorted(record.rows)])
    except ValueError as error:
        return Record({}, "unreadable", {}, record.where, fault=str(error))
    if record.status == "finished" and not record.fault:
        record.fault = defect(record.about, record.rows, record.pairs)
    return record


def _escaped(value: Any) -> Any:
    """The same with all of its texts escaped."""
    if isinstance(value, str):
        return escape_control_chars(value)
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    if isinstance(value, dict):
        return {_escaped(key): _escaped(item) for key, item in value.items()}
    return value


def read_folders(folder: Path) -> Iterator[Record]:
    """The runs' own records below `folder`."""
    for found in run_folders(folder):
        where = str(found.relative_to(folder))
        try:
            about = read_run_file(found)
            rows = {row["step"]: row for row in read_rows(found)}
            pairs = read_lines(found / PAIRS_FILE)
        except ConfigError as error:
            # The message of the cause has no path in it: results do not depend on where runs lie.
            cause = error.__cause__ or error
            fault = str(getattr(cause, "strerror", None) or cause)
            yield Record({}, "unreadable", {}, where, fault=fault)
            continue
        yield Record(about, str(about.get("status")), rows, where, pairs=pairs)


def read_study(file: Path) -> list[Record]:
    """The records in a file that `analysis.committed.records.pack_study` wrote.

    Raises:
        ConfigError: it is damaged.
    """
    try:
        lines = lzma.decompress(file.read_bytes()).decode().splitlines()
        runs = [json.loads(line) for line in lines]
        if not runs:
            raise ValueError("no run")
        return [
            Record(
                run["about"],
                str(run["about"]["status"]),
                {int(row["step"]): row for row in run["rows"]},
                run["where"],
            )
            for run in runs
        ]
    except (OSError, lzma.LZMAError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{file} is damaged ({error}): restore it with git checkout") from error


def read_offline(folder: Path) -> Iterator[Record]:
    """The runs that W&B wrote below `folder`: a folder for each process, several if resumed."""
    for file in sorted(folder.rglob("*.wandb"), key=lambda path: path.name):
        if not file.is_symlink():
            yield _offline_run(file, str(file.parent.relative_to(folder)))


def join(parts: list[Record]) -> list[Record]:
    """Joins the parts of a run in the order of their start; the last row of a step counts."""
    runs: dict[str, Record] = {}
    for part in sorted(parts, key=lambda part: str(part.about.get("started", ""))):
        earlier = runs.get(part.run_id)
        if earlier:
            part.rows = earlier.rows | part.rows
            part.history = [*earlier.history, earlier.where]
        runs[part.run_id] = part
    return [runs[run_id] for run_id in sorted(runs)]


def read_api(path: str) -> Iterator[Record]:
    """The runs of `entity/project` on the W&B server."""
    import wandb  # slow to import, and only this source needs it

    try:
        runs = list(wandb.Api().runs(path, order="+created_at"))
    except (wandb.Error, ValueError, OSError) as error:
        raise ConfigError(
            f"runs=wandb://{path} cannot be read ({str(error).splitlines()[0]}): give "
            "wandb://entity/project, after `wandb login`"
        ) from error
    for run in runs:
        config = {key: value for key, value in run.config.items() if not key.startswith("_wandb")}
        status = run.summary.get("status", run.state)
        yield Record(_about(config), status, _by_step(run.scan_history()), f"{path}/{run.id}")


def _offline_run(file: Path, where: str) -> Record:
    from google.protobuf.message import DecodeError
    from wandb.proto.wandb_internal_pb2 import Record as WandbRecord

    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    is_closed = False
    try:
        entries = [WandbRecord.FromString(data) for data in _log_entries(file.read_bytes())]
    except (DecodeError, ValueError) as error:
        return Record({}, "unreadable", {}, where, fault=str(error))
    for record in entries:
        if record.HasField("run"):
            config |= _values(record.run.config.update)
        elif record.HasField("config"):
            config |= _values(record.config.update)
        elif record.HasField("history"):
            rows.append(_values(record.history.item) | {"_step": record.history.step.num})
        elif record.HasField("summary"):
            summary |= _values(record.summary.update)
        elif record.HasField("exit"):
            is_closed = True
    # The last row is written after the summary: without the end of the log it may be missing.
    status = str(summary.get("status", "running")) if is_closed else "running"
    return Record(_about(config), status, _by_step(rows), where)


def _log_entries(data: bytes) -> Iterator[bytes]:
    """The log's entries; stops at the first incomplete one, where the process was killed.

    Raises:
        ValueError: an entry is not what was written: its checksum is another.
    """
    position, parts = 7, b""  # the file's own header: ":W&B", a magic number, a version
    while position + HEADER.size <= len(data):
        left = BLOCK - position % BLOCK
        if left < HEADER.size:  # an entry never begins in a block's last bytes: they are padding
            position += left
            continue
        checksum, length, kind = HEADER.unpack_from(data, position)
        position += HEADER.size
        if not kind or position + length > len(data):
            return
        chunk = data[position : position + length]
        if zlib.crc32(bytes([kind]) + chunk) != checksum:
            raise ValueError(f"its bytes are damaged near {position}")
        position += length
        parts = chunk if kind in (FULL, FIRST) else parts + chunk
        if kind in (FULL, LAST):
            yield parts


def _values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def _about(config: dict[str, Any]) -> dict[str, Any]:
    """W&B's config in the form of `run.json`: ours, and under `_run` the rest."""
    ours = {key: value for key, value in config.items() if not key.startswith("_")}
    return {**config.get("_run", {}), "config": ours}


def _by_step(rows: Any) -> dict[int, dict[str, Any]]:
    """Rows by step, without W&B's own keys and the gaps that its API fills with None."""
    by_step: dict[int, dict[str, Any]] = {}
    for row in rows:
        step = int(row["_step"])
        values = {k: v for k, v in row.items() if not k.startswith("_") and v is not None}
        by_step[step] = {"step": step, **values}
    return by_step
