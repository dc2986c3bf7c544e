"""Where the files are that a configuration names; imports nothing slow."""

from __future__ import annotations

import os
from pathlib import Path

from twogrpo.config.schema import Config, DatasetConfig, EvaluationConfig
from twogrpo.config.script_schemas import EvaluateConfig

ROOT = Path(__file__).resolve().parent.parent.parent
SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")
# What transformers and vLLM read of a model's folder, as twogrpo/models/hub.py downloads it.
MODEL_SUFFIXES = (".json", ".safetensors", ".txt", ".jinja", ".model")


def dataset_file(dataset: DatasetConfig) -> Path | None:
    """The file at `dataset.path`, or the prompt set in that folder; None for a hub source."""
    if dataset.path is None or dataset.source == "hub":
        return None
    found = Path(dataset.path) if os.path.exists(dataset.path) else ROOT / dataset.path
    return found / "prompts.parquet" if os.path.isdir(found) else found


def is_of_hub(source: str, place: str | Path | None) -> bool:
    """Whether data comes from the hub; `place` is its path or folder here."""
    return source == "hub" or (source == "auto" and place is None)


def benchmark_file(evaluation: EvaluationConfig, benchmark: str) -> Path | None:
    """The file of a benchmark in `evaluation.folder`; None where no folder is given."""
    if evaluation.folder is None:
        return None
    is_here = os.path.isdir(evaluation.folder)
    base = Path(evaluation.folder) if is_here else ROOT / evaluation.folder
    files = [base / f"{benchmark}{suffix}" for suffix in SUFFIXES]
    return next((file for file in files if os.path.isfile(file)), files[0])


def input_files(
    config: Config | EvaluateConfig, *, model: Path | None = None
) -> dict[str, list[Path]]:
    """The files that decide a run's numbers, by the key that names them; those that are there.

    `model` is the model's folder where it is the hub's snapshot. What is generated has no file.
    """
    evaluation, found = config.evaluation, dict[str, list[Path | None]]()
    path, is_evaluated = config.model.path, evaluation.at_end
    if isinstance(config, Config):
        if config.dataset.source != "generated":
            ids = config.dataset.ids and ROOT / config.dataset.ids
            found |= {"dataset.path": [dataset_file(config.dataset)], "dataset.ids": [ids or None]}
    else:
        is_evaluated = True
        path = path or config.checkpoint  # in a plan, before the checkpoint is looked at
    if evaluation.source not in ("generated", "hub"):
        benchmarks = evaluation.benchmarks if is_evaluated else []
        found["evaluation.folder"] = [benchmark_file(evaluation, name) for name in benchmarks]
    folder = model or ROOT / path
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    found["model.path"] = [folder / name for name in names if name.endswith(MODEL_SUFFIXES)]
    there = {key: [f for f in files if f and os.path.isfile(f)] for key, files in found.items()}
    return {key: files for key, files in there.items() if files}
