"""A device's efficiencies and overhead from the seconds that a run's phases took."""

from __future__ import annotations

from dataclasses import replace

from twogrpo.preflight.model_shapes import Architecture
from twogrpo.preflight.time.devices import EFFICIENCIES, Device
from twogrpo.preflight.time.length_distribution import bisect
from twogrpo.preflight.time.roofline import (
    Placement,
    Workload,
    generation_seconds,
    old_logps_seconds,
    sync_seconds,
    update_seconds,
)

LEAST_SECONDS = 1e-6  # an overhead is never nothing


def fitted(
    model: Architecture,
    device: Device,
    work: Workload,
    place: Placement,
    *,
    generate_seconds: float,
    train_seconds: float,
    other_seconds: float,
) -> Device:
    """The device at which one generation takes what it took.

    Both efficiencies as `efficiencies`; what the rest of the generation took (`other_seconds`:
    scoring, measuring, new weights) beyond the modelled way of the weights is its overhead.
    """
    generation, update = efficiencies(
        model, device, work, place, generate_seconds=generate_seconds, train_seconds=train_seconds
    )
    overhead = other_seconds - sync_seconds(model, device, place)
    return replace(
        device,
        generation_efficiency=generation,
        update_efficiency=update,
        overhead_seconds=max(overhead, LEAST_SECONDS),
    )


def efficiencies(
    model: Architecture,
    device: Device,
    work: Workload,
    place: Placement,
    *,
    generate_seconds: float,
    train_seconds: float,
) -> tuple[float, float]:
    """`generation_efficiency` and `update_efficiency` at which the phases take what they took.

    Seconds are of one generation; `train_seconds` is of old log-probabilities and updates. Found by
    bisection: more efficiency never takes longer. Held to EFFICIENCIES.
    """
    least, most = EFFICIENCIES

    def training(efficiency: float) -> float:
        at = replace(device, update_efficiency=efficiency)
        update = update_seconds(model, at, work, place)
        return update + old_logps_seconds(model, at, work, place)

    update = bisect(training, train_seconds, low=least, high=most)

    def generating(efficiency: float) -> float:
        at = replace(device, generation_efficiency=efficiency)
        return generation_seconds(model, at, work, place)

    return bisect(generating, generate_seconds, low=least, high=most), update
