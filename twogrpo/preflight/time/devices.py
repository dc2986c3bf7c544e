"""Devices to plan for (conf/device/), and what a benchmark of one's own machine says of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from omegaconf import OmegaConf

from twogrpo.config.cli import CONF
from twogrpo.config.schema import Config
from twogrpo.errors import ConfigError

EFFICIENCIES = (1e-6, 10.0)  # least and most that a calibration looks for


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
    overhead_seconds: float

    @property
    def memory_bytes(self) -> float:
        """That a process can have."""
        return self.memory_gib * 2**30


@dataclass(frozen=True)
class Calibration:
    """What `scripts/benchmark.py calibrate=FILE` writes: one JSON object with these names.

    The two ceilings are measured ones of this machine, in the dtype of the policy; an efficiency is
    what the model's own phase reached of them, as `fit.efficiencies` computes it from seconds; the
    overheads are those of a decoding step, of an optimiser step of one short sequence, and of a
    generation beside its modelled phases (scoring, measuring). `device` (a GPU's name, or "cpu, 1
    threads"), `model`, `dtype` (of the policy) and `date` (YYYY-MM-DD) say what was measured.
    """

    device: str
    model: str
    dtype: str
    date: str
    matmul_flops: float
    copy_bytes_per_second: float
    generation_efficiency: float
    update_efficiency: float
    decode_step_seconds: float
    update_seconds: float
    overhead_seconds: float

    def apply(self, device: Device) -> Device:
        """The device with the measured numbers in place of the assumed ones."""
        shared = {field.name for field in fields(Device)} - {"name"}
        return replace(device, **{k: v for k, v in asdict(self).items() if k in shared})

    def doubts(self, config: Config, device: Device) -> list[str]:
        """Why a run planned on `device` may take another time; empty where nothing speaks so."""
        hardware = config.hardware
        pairs = [("model", self.model, config.model.name), ("dtype", self.dtype, hardware.dtype)]
        if not _is_same_device(self.device, config, device):
            own = _cpu(config) if hardware.device == "cpu" else device.name
            pairs.append(("device", self.device, own))
        return [
            f"measured with {name} {measured}, planned for {planned}: measure that one"
            for name, measured, planned in pairs
            if measured != planned
        ] + self.clamped()

    def clamped(self) -> list[str]:
        """Efficiencies that lie at a bound of what is looked for."""
        least, most = EFFICIENCIES
        both = ("generation_efficiency", "update_efficiency")
        return [
            f"{name}={getattr(self, name):.3g} lies at the bound of {least:g} … {most:g}: no share "
            "of the ceilings explains the phase (overheads alone do, or do not nearly): measure "
            "more prompts or longer responses"
            for name in both
            if not 1.001 * least < getattr(self, name) < most / 1.001
        ]

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
        if name not in ("device", "model", "dtype", "date") and not is_number:
            raise ConfigError(f"calibration={path}: {name}={value} must be a number over 0")
    return calibration


def _cpu(config: Config) -> str:
    """As a calibration names it."""
    return f"cpu, {config.hardware.num_threads} threads"


def _is_same_device(measured: str, config: Config, device: Device) -> bool:
    """A CPU by its threads; a GPU of conf/device/ by its family (h200_141 is an "NVIDIA H200"); of
    a user's own GPU all that is known is that it is none."""
    if config.hardware.device == "cpu":
        return measured == _cpu(config)
    if device.name in device_names():
        return device.name.partition("_")[0] in measured.lower()
    return not measured.startswith("cpu")


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
