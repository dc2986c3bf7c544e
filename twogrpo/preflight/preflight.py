"""The preflight of one run: everything that is found out about it, and an exit code."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from twogrpo.config import validation
from twogrpo.config.schema import Config
from twogrpo.errors import ConfigError
from twogrpo.preflight.assumed_lengths import Lengths, lengths_of
from twogrpo.preflight.compatibility import Finding, check_values, conflicts, exit_code
from twogrpo.preflight.memory.estimate import Memory, memory, verdict
from twogrpo.preflight.model_shapes import Architecture, architecture_of
from twogrpo.preflight.small_group_checks import safety_rows
from twogrpo.preflight.text_tables import MARKS, gib
from twogrpo.preflight.time.devices import (
    Device,
    default_device,
    device_names,
    load_device,
    read_calibration,
)
from twogrpo.preflight.time.roofline import Cost, Placement, Workload
from twogrpo.preflight.time.workload import arm_costs, evaluation_cost, own_arm, placement
from twogrpo.preflight.zero_variance import ASSUMED, Beta, Counts, read_probe

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
            *_ceiling_findings(config, device),
            *_calibration_findings(config, device),
            _memory_finding(needed, device),
        ],
    )


def device_of(config: PreflightConfig) -> Device:
    """The device planned for, calibrated: conf/device/cpu.yaml for hardware=cpu, else `device`; one
    with other values than its file of conf/device/ is named as the user's own.

    Raises:
        ConfigError: the calibration cannot be read, a value of the device is not positive, or a
            device was chosen that hardware=cpu has no use for.
    """
    device = config.device
    for name, value in asdict(device).items():
        if name != "name" and not value > 0:
            raise ConfigError(f"device.{name}={value} must be over 0")
    changed = _changed_values(device)
    if config.hardware.device == "cpu" and device.name != "cpu":
        _refuse_unused(device, changed)
        device = load_device("cpu")
    elif changed:
        device = replace(device, name=f"own ({device.memory_gib:g} GiB)")
    if config.calibration:
        return read_calibration(Path(config.calibration)).apply(device)
    return device


def _changed_values(device: Device) -> dict[str, float]:
    """What differs from the device's file; nothing of one that the user has named."""
    if device.name not in device_names():
        return {}
    own = asdict(load_device(device.name))
    return {name: value for name, value in asdict(device).items() if value != own[name]}


def _refuse_unused(device: Device, changed: dict[str, float]) -> None:
    """A GPU's values that a plan for a CPU would leave out without a word."""
    if device.name == default_device() and not changed:
        return
    name, value = next(iter(changed.items()), ("name", device.name))
    told = f"device={value}" if value in device_names() else f"device.{name}={value}"
    raise ConfigError(
        f"{told} describes a GPU, but hardware=cpu plans for a CPU: add hardware=one_gpu (or "
        "four_gpus, …), or device=cpu for a CPU with such values"
    )


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
        validation.positive("price_per_gpu_hour", price)


def _safety_findings(config: Config) -> list[Finding]:
    levels = {mark: level for level, mark in MARKS.items()}
    return [
        Finding(levels[mark], f"small groups: {name}", text)  # type: ignore[arg-type]
        for mark, name, text in safety_rows(config)
        if mark != "✓"
    ]


def _calibration_findings(config: PreflightConfig, device: Device) -> Iterator[Finding]:
    """Where it is of another model, dtype or device, or explains nothing."""
    if config.calibration:
        for doubt in read_calibration(Path(config.calibration)).doubts(config, device):
            yield Finding("warning", "calibration", doubt)


def _ceiling_findings(config: PreflightConfig, device: Device) -> Iterator[Finding]:
    """Where conf/device/'s ceiling of matrix products is of another dtype or number of threads; one
    that is calibrated, or given, is taken as it is."""
    hardware, files = config.hardware, map(load_device, device_names())
    if config.calibration or device.matmul_flops not in {file.matmul_flops for file in files}:
        return
    used, measured = f"hardware.dtype={hardware.dtype}", "bfloat16"
    is_measured = hardware.dtype == measured
    if hardware.device == "cpu":
        used += f" hardware.num_threads={hardware.num_threads}"
        measured = "float32 on one thread"
        is_measured = (hardware.dtype, hardware.num_threads) == ("float32", 1)
    if not is_measured:
        text = (
            f"{used}, but the ceilings of {device.name} are of {measured}: hours are off until "
            "calibration=FILE (scripts/benchmark.py calibrate=FILE)"
        )
        yield Finding("warning", "ceilings", text)


def _memory_finding(needed: Memory, device: Device) -> Finding:
    text = f"{gib(needed.peak)} of the {device.memory_gib:g} of {device.name}"
    outcome = verdict(needed, device)
    if outcome == "fits":
        return Finding("ok", "memory", text)
    remedy = "more GPUs, hardware.cpu_offload=true, hardware.activation_checkpointing=true"
    if needed.reference_policy:
        remedy += ", tracking.kl_rollouts=0 (no start policy)"
    if needed.cache <= 0:
        remedy = "raise hardware.gpu_memory_share or hardware.tensor_parallel_size"
    elif needed.sampling_peak == needed.peak:
        remedy = "lower hardware.gpu_memory_share (vllm) or hardware.rollouts_per_call"
    level = VERDICT_LEVELS[outcome]
    return Finding(level, "memory", f"{outcome}: {text}: {remedy}")  # type: ignore[arg-type]
