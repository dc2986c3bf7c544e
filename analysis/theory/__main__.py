"""Builds every figure of the theory: python -m analysis.theory out=runs/theory/report …

rollouts=    a run folder with cached groups of 16 or more from the initial policy (step 0)
runs=        a folder of training runs; the discard rate and exploration need cached rollouts
real=        the folder of the measurements on real models
             (analysis/theory/smollm2_measurements.py), if any
dimensions=  the size of a gradient's sketch; 0: exact

Figures whose input is missing are not built; the exact statements need none.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

from analysis.committed.records import CODE_FILE
from analysis.exhibits.exhibit import Exhibit, arguments, guard, truth, whole, write
from analysis.theory import (
    expected_advantage,
    exploration,
    gradient_cosine,
    gradient_covariance,
    gradient_variance,
    rollout_gradients,
    smollm2_measurements,
    what_if,
    zero_variance_rate,
)
from analysis.theory.rollout_gradients import Scored, scored
from analysis.theory.run_folders import read_runs
from twogrpo.run_record import rollouts
from twogrpo.run_record.files import check_report_folder, write_atomically
from twogrpo.run_record.provenance import code_and_machine
from twogrpo.run_record.rollouts import CachedGroup

SEED = 0
DEFAULTS = {
    "out": "runs/theory/report",
    "rollouts": "",
    "model": "",
    "runs": "",
    "real": "results/theory",
    "num_prompts": "256",
    "group_size": "16",
    "dimensions": "16384",
}


def first_groups(path: str, *, num_prompts: int, group_size: int) -> list[CachedGroup]:
    """The groups of step 0, sampled by the initial policy, cut to `group_size` rollouts."""
    groups = rollouts.read(path, step=0)[:num_prompts]
    return [group.first(group_size) for group in groups]


def what_if_command(argv: list[str]) -> tuple[Exhibit, str]:
    """Runs `scripts/what_if.py rollouts=… out=… gradients=true|false model=…`."""
    defaults = {"out": "runs/what_if", "rollouts": "", "model": "", "gradients": "false"}
    given = arguments(argv, **defaults, dimensions="16384", num_prompts="128")
    out = check_report_folder("out", given["out"])
    num_prompts = whole("num_prompts", given["num_prompts"], at_least=1)
    dimensions = whole("dimensions", given["dimensions"], at_least=0)
    has_gradients = truth("gradients", given["gradients"])
    groups = first_groups(given["rollouts"], num_prompts=num_prompts, group_size=2**30)
    rewards_PG, vectors_PGD = rollout_gradients.rewards_array(groups), None
    if has_gradients:
        model = given["model"] or rollout_gradients.initial_model(given["rollouts"])
        vectors_PGD = scored("", groups, model, dimensions=dimensions).vectors_PGD
    exhibit = what_if.build(rewards_PG, vectors_PGD, np.random.default_rng(SEED))
    write(exhibit, out)
    return exhibit, given["out"]


def exhibits(given: dict[str, str]) -> list[Exhibit]:
    """The exhibits that can be built from the given inputs."""
    rng = np.random.default_rng(SEED)
    runs, sources = read_runs(given["runs"]), _sources(given)
    variance = [
        row
        for source in sources
        for row in gradient_variance.measured_rows(
            source.name, source.rewards_PG, source.vectors_PGD, rng
        )
    ]
    variance += smollm2_measurements.measured_earlier(given["real"], "gradient_variance")
    built = [expected_advantage.build(), gradient_variance.build(variance, rng)]
    pairs = [
        row
        for source in sources
        for row in gradient_covariance.rows(source.name, source.rewards_PG, source.vectors_PGD, rng)
    ]
    pairs += smollm2_measurements.measured_earlier(given["real"], "covariance")
    built += [gradient_covariance.build(pairs)] if pairs else []
    built += [what_if.build(s.rewards_PG, s.vectors_PGD, rng) for s in sources]
    base = rollouts.read(given["rollouts"], step=0) if given["rollouts"] else []
    built.append(exploration.build(runs, base))
    if any(run.groups() for run in runs):
        built.append(zero_variance_rate.build(runs))
    if runs:
        built.append(gradient_cosine.build(runs))
    return built


def _sources(given: dict[str, str]) -> list[Scored]:
    """The rollouts with their gradients, if there are any."""
    if not given["rollouts"]:
        return []
    num_prompts = whole("num_prompts", given["num_prompts"], at_least=1)
    group_size = whole("group_size", given["group_size"], at_least=4)
    dimensions = whole("dimensions", given["dimensions"], at_least=0)
    groups = first_groups(given["rollouts"], num_prompts=num_prompts, group_size=group_size)
    model = given["model"] or rollout_gradients.initial_model(given["rollouts"])
    return [scored("tiny model", groups, model, dimensions=dimensions)]


def main(argv: list[str]) -> None:
    """Runs the command."""
    given: dict[str, Any] = arguments(argv, **DEFAULTS)
    out = check_report_folder("out", given["out"])
    for exhibit in exhibits(given):
        write(exhibit, out)
    write_atomically(out / CODE_FILE, json.dumps(code_and_machine(num_gpus=0), indent=1) + "\n")


if __name__ == "__main__":
    with guard():
        main(sys.argv[1:])
