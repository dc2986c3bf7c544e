"""A frozen prompt set: the usable problems as parquet, with a manifest.

prompts.parquet      id, problem, answer, images
manifest.json        source, counts, dropped ids by reason, sha256
ids.txt              content ids, one per line: identifies the set without its text
contamination.json   benchmark problems that the set contains
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from twogrpo.config.output_folder import check_output_folder, claim
from twogrpo.config.schema import DatasetConfig
from twogrpo.config.script_schemas import PrepareDataConfig
from twogrpo.config.validation import check_benchmark_names
from twogrpo.data.contamination import Overlap, overlap, report
from twogrpo.data.files import ROOT, dataset_file
from twogrpo.data.filtering import FilteredProblems
from twogrpo.data.problems import content_id
from twogrpo.data.sources import benchmark_problems, prepared_dataset
from twogrpo.errors import DISK_IS_FULL, ConfigError

FILES = ("prompts.parquet", "manifest.json", "ids.txt", "contamination.json")
SCHEMA = pyarrow.schema(
    dict.fromkeys(("id", "problem", "answer"), pyarrow.string())
    | {"images": pyarrow.list_(pyarrow.binary())}
)


def prepare_data(config: PrepareDataConfig) -> str:
    """Writes the prompt set to `output_dir` atomically, and returns a summary.

    An existing prompt set there is replaced.

    Raises:
        ConfigError: a source cannot be read, there is nothing to prepare, or `output_dir`
            contains anything but a prompt set, or cannot be written.
    """
    check_benchmark_names(config.evaluation)
    if config.dataset.source == "generated":
        raise ConfigError(f"dataset={config.dataset.name} is generated: nothing to prepare")
    try:
        folder, prepared = _replaceable(config), prepared_dataset(config.dataset)
        overlaps = {
            benchmark: overlap(prepared.problems, benchmark_problems(config.evaluation, benchmark))
            for benchmark in config.evaluation.benchmarks
        }
        with claim("output_dir", folder, beside=True):
            _replaceable(config)
            _write(folder, config.dataset, prepared, overlaps)
    except OSError as error:
        if error.errno in DISK_IS_FULL:
            raise
        raise ConfigError(
            f"output_dir={config.output_dir} cannot be written ({error.strerror or error}): give "
            "a folder that can be written, and that no other process prepares"
        ) from error
    return f"{config.dataset.name}: {prepared.summary}\n{report(overlaps)}\n{config.output_dir}"


def _write(
    folder: Path, dataset: DatasetConfig, prepared: FilteredProblems, overlaps: dict[str, Overlap]
) -> None:
    """Writes the set beside `folder` and puts it in its place; an old set goes last."""
    mark = secrets.token_hex(4)  # leftovers of a killed process may lie here
    new, old = (folder.with_name(f".{folder.name}.{mark}.{name}") for name in ("new", "old"))
    new.mkdir(parents=True)
    try:
        rows = [
            {"id": p.problem_id, "problem": p.text, "answer": p.answer, "images": list(p.images)}
            for p in prepared.problems
        ]
        table = pyarrow.Table.from_pylist(rows, schema=SCHEMA)
        pyarrow.parquet.write_table(table, new / "prompts.parquet")
        names = [content_id(p.text, p.images) for p in prepared.problems]
        (new / "ids.txt").write_text(
            "".join(f"{name}\n" for name in sorted(names)), encoding="utf-8"
        )
        _write_json(new / "contamination.json", {k: asdict(v) for k, v in overlaps.items()})
        _write_json(new / "manifest.json", _manifest(dataset, prepared, names))
        if folder.exists():
            folder.replace(old)
        new.replace(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        if old.exists() and not folder.exists():  # the second rename failed
            old.replace(folder)
        shutil.rmtree(old, ignore_errors=True)


def _manifest(
    dataset: DatasetConfig, prepared: FilteredProblems, names: Sequence[str]
) -> dict[str, Any]:
    """The set's source, counts and hashes.

    `content_sha256` hashes the sorted content ids with their answers: equal sets have equal hashes,
    whatever their file format, row order and original ids.
    """
    pairs = sorted(f"{n} {p.answer}" for n, p in zip(names, prepared.problems, strict=True))
    file = dataset_file(dataset)
    return {
        "dataset": dataset.name,
        "source": str(file) if file else asdict(dataset)["hub"],
        "source_sha256": hashlib.sha256(file.read_bytes()).hexdigest() if file else None,
        "num_rows": prepared.num_rows,
        "num_kept": len(prepared.problems),
        "num_dropped": prepared.counts,
        "content_sha256": hashlib.sha256("\n".join(pairs).encode()).hexdigest(),
        "dropped": prepared.dropped,
    }


def _replaceable(config: PrepareDataConfig) -> Path:
    """Checks that `output_dir` may be deleted: it has no source and nothing but a prompt set."""
    folder = Path(os.path.realpath(config.output_dir))  # resolve() raises at a link to itself
    sources = {
        "dataset.path": dataset_file(config.dataset),
        "dataset.ids": config.dataset.ids,
        "evaluation.folder": config.evaluation.folder,
    }
    for key, value in sources.items():
        # Relative to the working directory or the repository root: neither may be deleted.
        places = [Path(os.path.realpath(base / value)) for base in (Path(), ROOT) if value]
        if any(place.is_relative_to(folder) for place in places):
            raise ConfigError(
                f"output_dir={config.output_dir} would be deleted with {key}={value} in it: "
                "give another output_dir"
            )
    check_output_folder("output_dir", config.output_dir, marks=("manifest.json",))
    names, manifest = set(os.listdir(folder) if folder.exists() else ()), folder / "manifest.json"
    if names and (names - set(FILES) or b"content_sha256" not in manifest.read_bytes()):
        odd = min(names - set(FILES), default=manifest.name)
        raise ConfigError(
            f"output_dir={config.output_dir} would be deleted and is no prompt set ({odd} is not "
            "of one): give a new or empty folder"
        )
    return folder


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
