"""The preflight of one run: all that is known about it before it starts, and an exit code."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import OmegaConf

from twogrpo.config import validation
from twogrpo.config.cli import CONF
from twogrpo.config.schema import Config
from twogrpo.errors import ConfigError
from twogrpo.preflight.compatibility import Finding, Level, compatibility_findings
from twogrpo.preflight.devices import Device, device_names, load_device
from twogrpo.preflight.hours import calibrated_hours, paper_hours
from twogrpo.preflight.memory.estimate import Memory, memory, verdict
from twogrpo.preflight.model_shapes import Architecture, architecture_of
from twogrpo.preflight.text_tables import gib
from twogrpo.preflight.zero_variance import ASSUMED, Beta, Counts, read_success_rates

VERDICT_LEVELS: dict[str, Level] = {"fits": "ok", "tight": "warning", "does not fit": "failure"}


@dataclass
class PreflightConfig(Config):
    """conf/preflight.yaml: a training run, and what is assumed about it."""

    planned_device: Device
    calibration: str | None
    success_rates: str | None
    json: bool


@dataclass(frozen=True)
class Preflight:
    """Everything found out about a run; hours are None where nobody has measured them.

    `paper` are the hours and GPUs of the run's cell in the paper's Table 1.
    """

    config: PreflightConfig
    model: Architecture
    device: Device
    success: Counts | Beta
    needed: Memory
    calibrated_hours: float | None
    paper: tuple[float, int] | None
    findings: list[Finding]

    @property
    def exit_code(self) -> int:
        """0: all is well, 1: there are warnings, 2: the run will fail."""
        levels = {finding.level for finding in self.findings}
        return 2 if "failure" in levels else 1 if "warning" in levels else 0


def preflight(config: PreflightConfig) -> Preflight:
    """Checks a run and estimates what it needs; raises ConfigError where a value is wrong, the
    model's sizes are unknown, or a given file cannot be read or is not of this run."""
    validation.check(config)  # not the device: a plan for GPUs is often made where there is none
    model, device = architecture_of(config.model), device_of(config)
    rates, file, needed = config.success_rates, config.calibration, memory(config, model, device)
    return Preflight(
        config=config,
        model=model,
        device=device,
        success=ASSUMED if rates is None else read_success_rates(Path(rates)),
        needed=needed,
        calibrated_hours=calibrated_hours(Path(file), config, device.name) if file else None,
        paper=paper_hours(config),
        findings=[
            *compatibility_findings(config, model),
            _dtype_finding(config, device),
            _memory_finding(config, needed, device),
        ],
    )


def device_of(config: PreflightConfig) -> Device:
    """The planned device (a CPU's for hardware=cpu), named as the user's own if its memory is not
    that of its file; raises ConfigError where a GPU was chosen for a run on a CPU."""
    device = config.planned_device
    is_changed = device.name in device_names() and device != load_device(device.name)
    if config.hardware.device == "cpu" and device.name != "cpu":
        defaults = OmegaConf.load(CONF / "preflight.yaml").defaults
        if is_changed or {"planned_device": device.name} not in defaults:
            raise ConfigError(
                f"planned_device.name={device.name} planned_device.memory_gib={device.memory_gib:g}"
                " describes a GPU, but hardware=cpu plans for a CPU: add hardware=one_gpu (or "
                "four_gpus, …), or planned_device=cpu for a CPU with that memory"
            )
        return load_device("cpu")
    return replace(device, name=f"own ({device.memory_gib:g} GiB)") if is_changed else device


def _dtype_finding(config: Config, device: Device) -> Finding:
    if lacking := device.lacks(config.hardware):
        text = f"{lacking}: {device.name} computes no bfloat16, use {lacking[:-8]}float32"
        return Finding("failure", "dtype", text)
    return Finding("ok", "dtype", config.hardware.dtype)


def _memory_finding(config: Config, needed: Memory, device: Device) -> Finding:
    outcome = verdict(needed, device)
    text = f"{outcome}: {gib(needed.peak)} of the {device.memory_gib:g} of {device.name}"
    remedy = "more GPUs"
    if not config.hardware.activation_checkpointing:
        remedy += ", hardware.activation_checkpointing=true"
    if needed.reference_policy:
        remedy += ", tracking.kl_rollouts=0 (no reference policy)"
    if needed.cache <= 0:
        remedy = "raise hardware.gpu_memory_share or hardware.tensor_parallel_size"
    elif needed.sampling_peak == needed.peak:
        remedy = "lower hardware.gpu_memory_share (vllm) or hardware.rollouts_per_call"
    if config.model.lora is None:
        remedy += ", or train adapters alone, lora=rank_32"
    level = VERDICT_LEVELS[outcome]
    return Finding(level, "memory", text if level == "ok" else f"{text}: {remedy}")
