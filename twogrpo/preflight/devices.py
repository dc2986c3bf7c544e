"""The devices that a run is planned for (conf/planned_device/)."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import OmegaConf

from twogrpo.config.cli import CONF


@dataclass
class Device:
    """A device's name and the memory that one process can use of it, GiB."""

    name: str
    memory_gib: float

    @property
    def memory_bytes(self) -> float:
        """The same memory in bytes."""
        return self.memory_gib * 2**30


def load_device(name: str) -> Device:
    """A device of conf/planned_device/ by its name."""
    values = OmegaConf.load(CONF / f"planned_device/{name}.yaml")
    return Device(**OmegaConf.to_container(values))  # type: ignore[arg-type]


def device_names() -> list[str]:
    """The names of conf/planned_device/."""
    return sorted(file.stem for file in (CONF / "planned_device").glob("*.yaml"))


def default_device() -> str:
    """The device of conf/preflight.yaml, planned for where none is chosen."""
    defaults = OmegaConf.load(CONF / "preflight.yaml").defaults
    return str(next(entry.planned_device for entry in defaults if "planned_device" in entry))
