"""Devices to plan for (conf/device/), and what a benchmark of one's own machine says of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from omegaconf import OmegaConf

from twogrpo.cli import CONF
from twogrpo.config import ConfigError


@dataclass
class Device:
    """Memory, ceilings, and how near to them a run comes (conf/device/)."""

    name: str
    memory_gib: float
    matmul_flops: float
    copy_bytes_per_second: float
    link_bytes_per_second: float
    network_bytes_per_second: float
    devices_per_node: int
    host_bytes_per_second: float
    update_efficiency: float
    generation_efficiency: float
    decode_step_seconds: float
    update_seconds: float

    @property
    def memory_bytes(self) -> float:
        """That a process can have."""
        return self.memory_gib * 2**30


@dataclass(frozen=True)
class Calibration:
    """What `scripts/benchmark.py calibrate=FILE` writes: one JSON object with these names.

    The two ceilings are measured ones of this machine, in the dtype of the policy; an efficiency is
    what the model's own phase reached of them, as `cost.efficiencies` computes it from seconds; the
    two overheads are a decoding step and an optimiser step of one short sequence. `model` and
    `date` (YYYY-MM-DD) say what was measured and when.
    """

    device: str
    model: str
    date: str
    matmul_flops: float
    copy_bytes_per_second: float
    generation_efficiency: float
    update_efficiency: float
    decode_step_seconds: float
    update_seconds: float

    def apply(self, device: Device) -> Device:
        """The device with the measured numbers in place of the assumed ones."""
        shared = {field.name for field in fields(Device)} - {"name"}
        return replace(device, **{k: v for k, v in asdict(self).items() if k in shared})

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def read_calibration(path: Path) -> Calibration:
    """The inverse of `Calibration.write`.

    Raises:
        ConfigError: the file is not there, a name is missing or unknown, a number not positive.
    """
    try:
        calibration = Calibration(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"calibration={path} cannot be read ({error}): write it with "
            "scripts/benchmark.py calibrate=FILE, or leave it null"
        ) from error
    for name, value in asdict(calibration).items():
        is_number = isinstance(value, float | int) and value > 0
        if name not in ("device", "model", "date") and not is_number:
            raise ConfigError(f"calibration={path}: {name}={value} must be a number over 0")
    return calibration


def load_device(name: str) -> Device:
    """A device of conf/device/ by its name."""
    return Device(**OmegaConf.to_container(OmegaConf.load(CONF / f"device/{name}.yaml")))  # type: ignore[arg-type]


def device_names() -> list[str]:
    """Of conf/device/."""
    return sorted(file.stem for file in (CONF / "device").glob("*.yaml"))


def default_device() -> str:
    """What conf/preflight.yaml plans for where no device is chosen."""
    defaults = OmegaConf.load(CONF / "preflight.yaml").defaults
    return str(next(entry.device for entry in defaults if "device" in entry))


def named_gpus() -> Iterator[Device]:
    """Every device of conf/device/ but the CPU."""
    return (load_device(name) for name in device_names() if name != "cpu")
