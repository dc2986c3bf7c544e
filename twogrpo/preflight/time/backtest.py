"""Predicted hours beside measured ones: the paper's Table 1, and our own runs on a CPU."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from twogrpo.config.cli import CONF
from twogrpo.errors import ConfigError
from twogrpo.preflight.assumed_lengths import lengths_of
from twogrpo.preflight.memory.estimate import memory
from twogrpo.preflight.model_shapes import ROOT, architecture_of
from twogrpo.preflight.preflight import PreflightConfig, device_of
from twogrpo.preflight.text_tables import note, section, table
from twogrpo.preflight.time.calibration_fit import fitted
from twogrpo.preflight.time.devices import Device
from twogrpo.preflight.time.length_distribution import bisect
from twogrpo.preflight.time.roofline import Cost, Workload, cost, whole_rounds
from twogrpo.preflight.time.scaling_forecast import scaling_report
from twogrpo.preflight.time.workload import placement, workload
from twogrpo.preflight.zero_variance import ASSUMED

Compose = Callable[[list[str]], PreflightConfig]
BASELINE = "grpo_g16"  # as the published table names it
# Its longest responses in training (section 5; ours are shorter where a model has 4,096 positions).
PAPER_RESPONSE_TOKENS = {"qwen25": 4096, "r1": 8192}
CPU_BASELINE = "grpo_g16"
# By model: their folder of conf/experiment/, and the mean tokens of its prompts, counted.
OUR_EXPERIMENTS = {"tiny": ("cpu", 8.5), "smollm2_135m": ("smollm2", 44.4)}
RESAMPLED = "two_grpo_rs"
MODELLED = ("generate", "old_logps", "update")
NOT_TRAINING = ("validate", "evaluate")


@dataclass(frozen=True)
class Compared:
    """One run's time, measured and predicted, in one unit; what is `fitted` its check says."""

    cell: str
    arm: str
    measured: float
    predicted: float
    fitted: float
    fitted_tokens: float | None = None


def checked(config: PreflightConfig, compose: Compose) -> str:
    """The page that `config.check` asks for; `compose` makes the run of a command line.

    Raises:
        ConfigError: there is no such check, or its file cannot be read.
    """
    pages = {
        "paper": lambda: paper_report(compose, ROOT / config.published),
        "cpu": lambda: cpu_report(compose, ROOT / config.measured),
        "scaling": scaling_report,
    }
    if config.check not in pages:
        raise ConfigError(f"check={config.check} is unknown: use one of {', '.join(pages)}")
    return pages[config.check]()


def against_paper(compose: Compose, published: Path) -> list[Compared]:
    """Hours of the paper's Table 1. `fitted`: at the response length of a cell (model and data)
    that makes its 16-GRPO exact; the length is what is least known.

    As the trainer of the paper: every row passes through the policy with a prompt of its own, π_old
    is always computed anew.
    """
    rows = [row for row in read_csv(published) if row["hours"]]
    runs = [_paper_run(compose, row) for row in rows]
    lengths = {
        _cell(row): _fitted_length(run, float(row["hours"]))
        for row, run in zip(rows, runs, strict=True)
        if row["arm"] == BASELINE
    }
    return [
        Compared(
            cell=_cell(row),
            arm=row["arm"],
            measured=float(row["hours"]),
            predicted=_paper_hours(run, None),
            fitted=_paper_hours(run, lengths[_cell(row)]),
            fitted_tokens=lengths[_cell(row)],
        )
        for row, run in zip(rows, runs, strict=True)
    ]


def against_cpu(compose: Compose, folder: Path) -> list[Compared]:
    """Seconds of our runs. `predicted`: not calibrated; `fitted`: both efficiencies and the
    overhead of a generation from 16-GRPO alone, as a calibration finds them.

    Lengths, dead groups and resampling are those of the runs: what is checked is the model of time.

    Raises:
        ConfigError: a table cannot be read, lacks 16-GRPO or is of a model without experiments.
    """
    seconds = _phase_seconds(folder)
    ledger = {row["arm"]: row for row in read_csv(folder / "ledger.csv")}
    if CPU_BASELINE not in seconds:
        raise ConfigError(
            f"measured={folder}: time_split.csv has no {CPU_BASELINE} to calibrate on"
        )
    configs = {arm: compose([_experiment(ledger[arm], folder)]) for arm in seconds}
    works = {arm: _measured_work(configs[arm], ledger[arm]) for arm in seconds}
    device = _fitted(configs[CPU_BASELINE], works[CPU_BASELINE], seconds[CPU_BASELINE])
    return [
        Compared(
            cell=ledger[arm]["model"],
            arm=arm,
            measured=_sum(seconds[arm], NOT_TRAINING),
            predicted=_cost(configs[arm], work, device_of(configs[arm])).hours * 3600,
            fitted=_cost(configs[arm], work, device).hours * 3600,
        )
        for arm, work in works.items()
    ]


def paper_report(compose: Compose, published: Path) -> str:
    """For a person."""
    compared = against_paper(compose, published)
    rows = [
        [row.cell, row.arm, f"{row.measured:.2f}", f"{row.predicted:.2f}", _error(row, "predicted"),
         f"{row.fitted:.2f}", "(fitted)" if row.arm == BASELINE else _error(row, "fitted")]
        for row in compared
    ]  # fmt: skip
    others = [row for row in compared if row.arm != BASELINE]
    resampled = [row.fitted / row.measured - 1 for row in others if row.arm == RESAMPLED]
    resampling = f" {min(resampled):+.0%} to {max(resampled):+.0%}" if resampled else " nothing"
    told = ", ".join(f"{r.cell} {r.fitted_tokens:,.0f}" for r in compared if r.arm == BASELINE)
    return section(
        "The paper's hours (Table 1), predicted",
        table(
            ["cell", "arm", "paper", "predicted", "error", "length fitted", "error"], rows, left=2
        ),
        note(
            f"Median |error|: {_median_error(compared, 'predicted'):.0%} without fitting; "
            f"{_median_error(others, 'fitted'):.0%} for the arms other than 16-GRPO once the "
            f"response length of a cell is fitted on its 16-GRPO ({told} tokens). 2-GRPO+RS alone, "
            f"so fitted:{resampling}."
        ),
        note(
            "Assumptions: 4 GPUs for 1.5B and 8 for 7B models (the paper), each as "
            "conf/device/h200_141.yaml, not calibrated; batches, microbatches and memory shares of "
            "conf/hardware/; the paper's own longest responses of 4,096 tokens (8,192 of "
            "R1-Distill), where our runs of Qwen2.5-Math have 3,072; a mean response of a fifth of "
            "them (the paper publishes none) and lengths log-normal; every row trained on, with a "
            "prompt of its own, and π_old always computed, as its trainers do; a second a "
            "generation for the verifier and all else, and no validation, evaluation or start-up, "
            "which its hours may include. 2-GRPO+RS comes out too dear: success rates Beta(2, 0.5) "
            "make it draw 4.4 pairs for each one kept, where the paper's Table 3 suggests about 3, "
            "and our loop draws them in five rounds, each of which ends with a longest response of "
            "its own."
        ),
    )


def cpu_report(compose: Compose, folder: Path) -> str:
    """For a person."""
    compared = against_cpu(compose, folder)
    rows = [
        [row.arm, f"{row.measured:.1f}", f"{row.predicted:.1f}", _error(row, "predicted"),
         f"{row.fitted:.1f}", "(fitted)" if row.arm == CPU_BASELINE else _error(row, "fitted")]
        for row in compared
    ]  # fmt: skip
    others = [row for row in compared if row.arm != CPU_BASELINE]
    worst = max(abs(row.fitted / row.measured - 1) for row in others)
    return section(
        f"Our own runs of {compared[0].cell} on a CPU, seconds of training, predicted",
        table(["arm", "measured", "predicted", "error", "calibrated", "error"], rows),
        note(
            "Calibrated: two efficiencies and the overhead of a generation come from "
            f"{CPU_BASELINE} alone, as from a calibration file; the largest error on the other "
            f"arms is {worst:.0%}. Lengths, dead groups and draws are the runs' own, so this "
            "checks the model of time, not the forecast of dead groups; overheads a step are "
            "conf/device/cpu.yaml's, measured apart, with the tiny model. Not calibrated: that "
            "file as it is, whose ceilings are those of float32."
        ),
    )


def read_csv(path: Path) -> list[dict[str, str]]:
    """Its rows.

    Raises:
        ConfigError: the file cannot be read.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}): give another") from error


def _cell(row: dict[str, str]) -> str:
    return f"{row['dataset']} {row['model']}"


def _paper_run(compose: Compose, row: dict[str, str]) -> PreflightConfig:
    arm = "grpo" if row["arm"] == BASELINE else row["arm"]
    experiment = f"table1/{row['dataset']}_{row['model']}_{arm}"
    hardware = "eight_gpus" if row["model"].endswith("_7b") else "four_gpus"
    longest = PAPER_RESPONSE_TOKENS[row["model"].partition("_")[0]]
    return compose(
        [
            f"experiment={experiment}",
            "rollout=vllm",
            f"hardware={hardware}",
            f"dataset.max_response_tokens={longest}",
        ]
    )


def _paper_hours(config: PreflightConfig, response: float | None) -> float:
    lengths = lengths_of(config, response=response)
    work = workload(config, lengths, ASSUMED, skips_dead=False, shares_prompts=False)
    return _cost(config, work, device_of(config)).hours


def _fitted_length(config: PreflightConfig, hours: float) -> float:
    longest = float(config.dataset.max_response_tokens)
    return bisect(lambda tokens: _paper_hours(config, tokens), hours, low=10.0, high=longest)


def _cost(config: PreflightConfig, work: Workload, device: Device) -> Cost:
    model = architecture_of(config.model)
    return cost(model, device, work, placement(config, memory(config, model, device)))


def _experiment(row: dict[str, str], folder: Path) -> str:
    """The command line of the run that a row of a ledger is of."""
    if row["model"] not in OUR_EXPERIMENTS:
        raise ConfigError(
            f"measured={folder}: of model {row['model']} no experiments are known: give tables of "
            f"{' or '.join(OUR_EXPERIMENTS)}"
        )
    scale, _ = OUR_EXPERIMENTS[row["model"]]
    is_named = (CONF / f"experiment/{scale}/{row['arm']}.yaml").exists()
    return f"experiment={scale}/{row['arm'] if is_named else 'grpo'}"


def _measured_work(config: PreflightConfig, row: dict[str, str]) -> Workload:
    """The run's work with what the ledger says of it."""
    kept = float(row["rollouts_kept"])
    generated = float(row["rollouts_generated"])
    _, prompt = OUR_EXPERIMENTS[row["model"]]
    response = float(row["tokens_generated"]) / generated
    lengths = lengths_of(config, prompt=prompt, response=response)
    return replace(
        workload(config, lengths, ASSUMED),
        rounds=whole_rounds(generated / kept),
        trained_share=float(row["rollouts_trained_on"]) / kept,
    )


def _phase_seconds(folder: Path) -> dict[str, dict[str, float]]:
    """Of each arm's mean run, by phase."""
    seconds: dict[str, dict[str, float]] = defaultdict(dict)
    for row in read_csv(folder / "time_split.csv"):
        seconds[row["arm"]][row["phase"]] = float(row["seconds"])
    return dict(seconds)


def _sum(phases: dict[str, float], without: tuple[str, ...]) -> float:
    return sum(seconds for phase, seconds in phases.items() if phase not in without)


def _fitted(config: PreflightConfig, work: Workload, seconds: dict[str, float]) -> Device:
    model, device = architecture_of(config.model), device_of(config)
    return fitted(
        model,
        device,
        work,
        placement(config, memory(config, model, device)),
        generate_seconds=seconds["generate"] / work.generations,
        train_seconds=(seconds["old_logps"] + seconds["update"]) / work.generations,
        other_seconds=_sum(seconds, (*NOT_TRAINING, *MODELLED)) / work.generations,
    )


def _error(row: Compared, name: str) -> str:
    return f"{getattr(row, name) / row.measured - 1:+.0%}"


def _median_error(rows: list[Compared], name: str) -> float:
    return median(abs(getattr(row, name) / row.measured - 1) for row in rows)
