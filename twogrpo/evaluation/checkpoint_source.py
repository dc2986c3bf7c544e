"""Locates a checkpoint's weights, their hash and the run that trained them.

A checkpoint is a run's folder (its final policy, else its newest checkpoint), one checkpoint of a
run, a folder in `transformers` format, or a hub id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from twogrpo.config.schema import LoraConfig, parse
from twogrpo.config.script_schemas import EvaluateConfig, Origin, TrainedOn
from twogrpo.errors import ConfigError
from twogrpo.models import hub
from twogrpo.models.load import ROOT
from twogrpo.policy.checkpoint import STATE
from twogrpo.run_record.files import (
    FINAL_OF,
    REQUIRED,
    RUN_FILE,
    is_run_folder,
    read_json,
    read_rows,
    read_run_file,
    refuse_interpolations,
)
from twogrpo.run_record.inputs import read_inputs
from twogrpo.run_record.rows import training_rows

# What the evaluation takes from the record of the run that trained a checkpoint.
TRAINED = (
    *REQUIRED,
    *("config.model.path", "config.model.prompt_template", "config.dataset.num_prompts"),
    *("config.algorithm.name", "config.algorithm.group_size", "config.evaluation.num_samples"),
    *("config.reward.name", "config.rollout.engine"),
    *("config.hardware.dtype", "config.hardware.sampler_dtype"),
)


@dataclass(frozen=True)
class Source:
    """A checkpoint's location; `training` is a checkpoint to load into `model_path`'s model."""

    name: str
    model_path: str
    training: Path | None = None
    run: dict[str, Any] | None = None
    step: int = 0


def find(checkpoint: str, revision: str | None) -> Source:
    """Raises ConfigError if neither a folder nor the hub has the checkpoint."""
    name = checkpoint.replace("/", "--")
    return _here(checkpoint) or Source(
        name, str(hub.snapshot(checkpoint, revision, key="checkpoint"))
    )


def _here(checkpoint: str) -> Source | None:
    folder = next((f for f in (Path(checkpoint), ROOT / checkpoint) if f.is_dir()), None)
    if folder is None:
        return None
    folder = folder.resolve()
    if is_run_folder(folder):
        return _of_run(folder)
    if (folder / STATE).is_file():
        return _of_training_checkpoint(folder)
    if not (folder / "config.json").is_file():
        raise ConfigError(
            f"checkpoint={checkpoint} has no run.json, state.json or config.json: "
            "give a run's folder, one of its checkpoints or a model's folder"
        )
    if folder.name == "final" and is_run_folder(folder.parent):
        return _of_run(folder.parent)
    return Source(folder.name, str(folder))


def as_its_run(cfg: DictConfig, typed: Sequence[str]) -> DictConfig:
    """The configuration with the evaluation, reward, sampler and dtypes of the run that trained the
    checkpoint, if any; keys in `typed` (`key=value`) keep their values. The device is not taken
    from that run, so a GPU needs `hardware=one_gpu`.

    Raises:
        ConfigError: the folder is not a checkpoint.
    """
    source = _here(str(cfg.checkpoint))
    if source is None or source.run is None:
        return cfg
    keys = [word.partition("=")[0].lstrip("+") for word in typed]
    found = cfg.copy()
    OmegaConf.set_struct(found, False)  # another evaluation has other benchmarks in its `hub`
    trained = source.run["config"]
    refuse_interpolations(trained, f"checkpoint={cfg.checkpoint}: its run.json")
    for group in ("evaluation", "reward", "rollout"):
        if group not in keys:
            found[group] = OmegaConf.merge(found[group], trained[group])
    if "hardware" not in keys and "hardware.dtype" not in keys:
        for key in ("dtype", "sampler_dtype"):
            found.hardware[key] = trained["hardware"][key]
    for key in keys:
        if "." in key:
            OmegaConf.update(found, key, OmegaConf.select(cfg, key), merge=False)
    return found


def describe(config: EvaluateConfig, source: Source) -> EvaluateConfig:
    """The config with the source's model, hash and the run that trained it."""
    model = replace(config.model, path=source.model_path)
    run_name = config.run_name or f"{source.name}-{config.evaluation.name}"
    output_dir = config.output_dir or f"runs/evaluate/{run_name}"
    config = replace(
        config,
        model=model,
        step=source.step,
        weights_sha256=_sha256(source, Path(output_dir)),
        run_name=run_name,
        output_dir=output_dir,
    )
    if source.run is not None:
        trained = source.run["config"]
        known = ("prompt_template", "name", "end_tokens")  # an older run has no end_tokens
        of_run = {key: trained["model"][key] for key in known if key in trained["model"]}
        if lora := trained["model"].get("lora"):
            of_run["lora"] = parse(OmegaConf.create(lora), LoraConfig)
        config = replace(
            config,
            model=replace(model, **of_run),
            algorithm=Origin(trained["algorithm"]["name"], trained["algorithm"]["group_size"]),
            dataset=TrainedOn(trained["dataset"]["name"], trained["dataset"]["num_prompts"]),
            seed=trained["seed"],
        )
    return config


def _of_run(folder: Path) -> Source:
    run = read_run_file(folder, required=TRAINED)
    if (folder / "final" / "config.json").is_file():
        about = folder / "final" / FINAL_OF  # an older run has none
        _check_whose(folder / "final", read_json(about) if about.exists() else run, run)
        steps = len(training_rows(read_rows(folder)))
        return Source(folder.name, str(folder / "final"), run=run, step=steps)
    saved = sorted(path for path in folder.glob("checkpoints/[0-9]*") if path.is_dir())
    if not saved:
        raise ConfigError(
            f"checkpoint={folder} is a run that has no checkpoint yet: train it, or give another"
        )
    return _of_training_checkpoint(saved[-1])


def _of_training_checkpoint(folder: Path) -> Source:
    run_folder = folder.parent.parent
    if not is_run_folder(run_folder):
        raise ConfigError(
            f"checkpoint={folder} is outside its run's folder, whose run.json names the model: "
            "give the path where training wrote it"
        )
    run, state = read_run_file(run_folder, required=TRAINED), read_json(folder / STATE)
    step, of_run = state.get("step"), state.get("run", run)  # older checkpoints do not say whose
    if not (isinstance(step, int) and isinstance(of_run, dict)):
        raise ConfigError(f"checkpoint={folder}: its {STATE} has no step or run: give another")
    _check_whose(folder, of_run, run)
    return Source(
        name=f"{run_folder.name}-{folder.name}",
        model_path=run["config"]["model"]["path"],
        training=folder,
        run=run,
        step=step,
    )


def _check_whose(folder: Path, of_run: dict[str, Any], run: dict[str, Any]) -> None:
    if of_run.get("identity") != run["identity"]:
        raise ConfigError(
            f"checkpoint={folder} is not of the run in the {RUN_FILE} above it: restore that file"
        )


def _sha256(source: Source, output_dir: Path) -> str:
    """The hash of the weight files, in the order of their names; the record saves hashing twice."""
    folder = source.training or Path(source.model_path)
    files = {"model.path": sorted(folder.glob("*.safetensors"))}
    known = {} if source.training else read_run_file(output_dir).get("inputs", {})
    digest = hashlib.sha256()
    for file in read_inputs(files, known)["model.path"].values():
        digest.update(bytes.fromhex(file["sha256"]))
    return digest.hexdigest()
