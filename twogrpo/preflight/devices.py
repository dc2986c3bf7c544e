"""The devices that a run is planned for (conf/planned_device/)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from omegaconf import OmegaConf

from twogrpo.config.annotations import POSITIVE
from twogrpo.config.cli import CONF
from twogrpo.config.schema import HardwareConfig


@dataclass
class Device:
    """A device's name, the memory that one process can use of it, GiB, and what it computes in."""

    name: str
    memory_gib: Annotated[float, POSITIVE]
    bfloat16: bool

    @property
    def memory_bytes(self) -> float:
        """The same memory in bytes."""
        return self.memory_gib * 2**30

    def lacks(self, hardware: HardwareConfig) -> str:
        """The key that asks for bfloat16 of a device without it; else empty."""
        asking = (key for key in ("dtype", "sampler_dtype") if getattr(hardware, key) == "bfloat16")
        return "" if self.bfloat16 else next((f"hardware.{key}=bfloat16" for key in asking), "")


def load_device(name: str) -> Device:
    """A device of conf/planned_device/ by its name."""
    values = OmegaConf.load(CONF / f"planned_device/{name}.yaml")
    return Device(**OmegaConf.to_container(values))  # type: ignore[arg-type]


def device_names() -> list[str]:
    """The names of conf/planned_device/."""
    return sorted(file.stem for file in (CONF / "planned_device").glob("*.yaml"))
