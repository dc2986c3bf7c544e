"""The preflight of one run: everything that is found out about it, and an exit code."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from twogrpo import checks
from twogrpo.config import Config, ConfigError
from twogrpo.planning import safety_rows
from twogrpo.preflight.architectures import Architecture, architecture_of
from twogrpo.preflight.conflicts import Finding, check_values, conflicts, exit_code
from twogrpo.preflight.cost import Cost, Placement, Workload
from twogrpo.preflight.devices import Device, load_device, read_calibration
from twogrpo.preflight.forecast import ASSUMED, Beta, Counts, read_probe
from twogrpo.preflight.lengths import Lengths, lengths_of
from twogrpo.preflight.memory import Memory, memory, verdict
from twogrpo.preflight.plan import arm_costs, evaluation_cost, own_arm, placement
from twogrpo.preflight.text import MARKS, gib

VERDICT_LEVELS = {"fits": "ok", "tight": "warning", "does not fit": "failure"}


@dataclass
class PreflightConfig(Config):
    """conf/preflight.yaml: a training run, and what is planned about it."""

    device: Device
    calibration: str | None
    price_per_gpu_hour: float | None
    mean_prompt_tokens: float | None
    mean_response_tokens: float | None
    probe: str | None
    check: str | None
    published: str
    measured: str
    json: bool


@dataclass(frozen=True)
class Preflight:
    """All that is found out about a run."""

    config: PreflightConfig
    model: Architecture
    device: Device
    success: Counts | Beta
    lengths: Lengths
    needed: Memory
    place: Placement
    arms: dict[str, tuple[Workload, Cost]]
    evaluation_hours: float | None
    findings: list[Finding]

    @property
    def own(self) -> str:
        """The run's own name in `arms`."""
        return own_arm(self.config.algorithm)

    @property
    def exit_code(self) -> int:
        """0 all is well, 1 there are warnings, 2 the run will fail."""
        return exit_code(self.findings)


def preflight(config: PreflightConfig) -> Preflight:
    """Looks at a run from all sides.

    Raises:
        ConfigError: a value is wrong, the model's sizes are not known, or a given file cannot be
            read.
    """
    check_values(config)
    _check_assumptions(config)
    model, device = architecture_of(config.model), device_of(config)
    success: Counts | Beta = read_probe(Path(config.probe)) if config.probe else ASSUMED
    lengths = lengths_of(
        config, prompt=config.mean_prompt_tokens, response=config.mean_response_tokens
    )
    needed = memory(config, model, device, lengths)
    place = placement(config, needed)
    return Preflight(
        config=config,
        model=model,
        device=device,
        success=success,
        lengths=lengths,
        needed=needed,
        place=place,
        arms=arm_costs(config, model, device, lengths, success, place),
        evaluation_hours=evaluation_cost(config, model, device, lengths, place),
        findings=[
            *_safety_findings(config),
            *conflicts(config, model),
            _memory_finding(needed, device),
        ],
    )


def device_of(config: PreflightConfig) -> Device:
    """The device planned for: conf/device/cpu.yaml for hardware=cpu, else `device`; calibrated.

    Raises:
        ConfigError: the calibration cannot be read, or a value of the device is not positive.
    """
    device = config.device
    if config.hardware.device == "cpu" and device.name != "cpu":
        device = load_device("cpu")
    for name, value in asdict(device).items():
        if name != "name" and not value > 0:
            raise ConfigError(f"device.{name}={value} must be over 0")
    if config.calibration:
        return read_calibration(Path(config.calibration)).apply(device)
    return device


def _check_assumptions(config: PreflightConfig) -> None:
    """Of the preflight's own keys."""
    limits = config.dataset
    for key, value, most in (
        ("prompt", config.mean_prompt_tokens, limits.max_prompt_tokens),
        ("response", config.mean_response_tokens, limits.max_response_tokens),
    ):
        if value is not None and not 0 < value <= most:
            raise ConfigError(
                f"mean_{key}_tokens={value:g} is no mean of 1 … {most} tokens "
                f"(dataset.max_{key}_tokens): use one of these"
            )
    price = config.price_per_gpu_hour
    if price is not None and price != 0:
        checks.positive("price_per_gpu_hour", price)


def _safety_findings(config: Config) -> list[Finding]:
    levels = {mark: level for level, mark in MARKS.items()}
    return [
        Finding(levels[mark], f"small groups: {name}", text)  # type: ignore[arg-type]
        for mark, name, text in safety_rows(config)
        if mark != "✓"
    ]


def _memory_finding(needed: Memory, device: Device) -> Finding:
    text = f"{gib(needed.peak)} of the {device.memory_gib:g} of {device.name}"
    outcome = verdict(needed, device)
    if outcome == "fits":
        return Finding("ok", "memory", text)
    remedy = "more GPUs, hardware.cpu_offload=true, hardware.activation_checkpointing=true"
    if needed.start_policy:
        remedy += ", tracking.kl_rollouts=0 (no start policy)"
    if needed.cache <= 0:
        remedy = "raise hardware.gpu_memory_share or hardware.tensor_parallel_size"
    elif needed.sampling_peak == needed.peak:
        remedy = "lower hardware.gpu_memory_share (vllm) or hardware.rollouts_per_call"
    level = VERDICT_LEVELS[outcome]
    return Finding(level, "memory", f"{outcome}: {text}: {remedy}")  # type: ignore[arg-type]
