"""Whether a folder's weights are those of the model that its config.json describes.

transformers only warns of a tensor that is lost, renamed, of another shape or left over, and draws
at random what it lacks; the policy and the sampler would then be different models.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers import PreTrainedModel

from twogrpo.errors import ConfigError, escape_control_chars

STORED = ("F64", "F32", "F16", "BF16")


def check_stored(folder: Path, path: str) -> None:
    """Checks the dtypes in the headers of the folder's safetensors; no weight is read.

    Raises:
        ConfigError: a file cannot be read, or has quantised weights (integers, fp8, …).
    """
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt") as tensors:
                dtypes = {k: tensors.get_slice(k).get_dtype() for k in tensors.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise ConfigError(
                f"model.path={path}: {file.name} cannot be read ({error}): give an intact copy"
            ) from error
        for name, dtype in dtypes.items():  # a mask may be of integers
            is_weight = dtype.startswith("F") or name.endswith(("weight", ".bias"))
            if is_weight and dtype not in STORED:
                raise ConfigError(
                    f"model.path={path}: {name} is stored as {dtype} in {file.name}: give weights "
                    "in float32 or bfloat16, not quantised"
                )


def check_loaded(model: PreTrainedModel, report: Mapping[str, Any], path: str) -> None:
    """Checks transformers' report on loading; prints weights of parts that the model has not.

    Raises:
        ConfigError: a weight is missing, of another shape, left over in a part that the model has,
            or tied by the configuration alone.
    """
    missing, unexpected = sorted(report["missing_keys"]), sorted(report["unexpected_keys"])
    others = [
        f"{name} {list(stored)} instead of {list(expected)}"
        for name, stored, expected in sorted(report["mismatched_keys"])
    ]
    parts = {name for m in (model, model.base_model) for name, _ in m.named_children()}
    # A value head or a second tower is no part of this model; a layer or an adapter too many is.
    foreign = [k for k in unexpected if k.partition(".")[0] not in parts and "lora_" not in k]
    reasons = [
        *_listed("missing", missing),
        *_listed("of another shape", others),
        *_listed("unexpected", unexpected if missing else sorted({*unexpected} - {*foreign})),
    ]
    remedy = "give a folder whose weights and config.json belong together"
    if prefix := _prefix(missing, unexpected):
        remedy = f"take the prefix {prefix} off the names in its safetensors"
    if not reasons:
        tied = model.get_expanded_tied_weights_keys(all_submodels=True).items()
        reasons = [
            f"{name} is another than {original}, to which it is tied"
            for name, original in tied
            if model.get_parameter(name) is not model.get_parameter(original)
        ]
        remedy = "set tie_word_embeddings to false in its config.json"
    if reasons:
        raise ConfigError(
            f"model.path={path}: its weights are not those of a {type(model).__name__} with its "
            f"config.json ({escape_control_chars('; '.join(reasons))}): {remedy}"
        )
    if foreign:
        names = escape_control_chars(_listed("not used", foreign)[0])
        _print_once(f"model.path={path}: weights that are no part of the model are {names}\n")


@cache  # the sampler, the policy and the reference policy load the same folder
def _print_once(line: str) -> None:
    sys.stderr.write(line)


def _listed(what: str, names: list[str]) -> list[str]:
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return [f"{what}: {', '.join(names[:2])}{more}"] if names else []


def _prefix(missing: list[str], unexpected: list[str]) -> str | None:
    """What an unexpected name has before that of a missing one ("module.", "_orig_mod.")."""
    known = set(missing)
    for name in unexpected:
        parts = name.split(".")
        for number in range(1, len(parts)):
            if ".".join(parts[number:]) in known:
                return ".".join(parts[:number]) + "."
    return None
