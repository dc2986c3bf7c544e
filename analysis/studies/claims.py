"""The claims of the studies; their bounds, and the predictions, were written before the runs
(docs/studies.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from analysis.exhibits.claim_table import (
    EXACT,
    INFINITE,
    NAN,
    Claim,
    Measure,
    Measured,
    exhibit,
    judge,
)
from analysis.exhibits.exhibit import Exhibit
from analysis.records.frames import Runs
from analysis.stats.comparison import comparisons
from analysis.stats.intervals import OVER_BOTH, OVER_SEEDS
from analysis.studies import sigmoid
from analysis.studies.sigmoid import FULL
from analysis.studies.study import Cell, Study, chosen, measure, measured, points

NOTE = (
    "A verdict follows from the interval in brackets alone: inside the bounds of 'borne out by': "
    "borne out; outside them: not; astride: inconclusive. Brackets hold "
    f"{OVER_BOTH}; where no problems are counted {OVER_SEEDS}. TOST: two one-sided tests of "
    "equivalence, so that interval is a 90 % one. The claims, their bounds and the predictions "
    "are ours: docs/studies.md. "
)
TOST = 0.90  # the level of an interval for two one-sided tests at 5 %
QUARTER, EIGHTH = FULL // 4, FULL // 8


def _claim(name: str, says: str, low: float, high: float, bounds: str, value: Measure) -> Claim:
    test = "TOST at 5 %" if "TOST" in bounds else "95 % interval"
    return Claim(name, says, "–", "ours", NAN, low, high, f"{bounds} (ours)", value, test)


def _margin(name: str, says: str, margin: float, *signed: Cell) -> Claim:
    value = points(*signed, level=TOST)
    return _claim(name, says, -margin, margin, f"within ±{margin:g} points, TOST", value)


def _at_least(name: str, says: str, low: float, *signed: Cell) -> Claim:
    bounds = f"at least {low:g} point{'s' * (low != 1)}" if low else "above 0"
    return _claim(name, says, low or EXACT, INFINITE, bounds, points(*signed))


def _at_most(name: str, says: str, high: float, *signed: Cell) -> Claim:
    bounds = f"at most {high:g} points".replace("-", "−") if high else "below 0"
    return _claim(name, says, -INFINITE, high or -EXACT, bounds, points(*signed))


def _base(_: Study) -> str:
    return "base"


def _rollouts_to_90(study: Study) -> Measured | None:
    """The ratio of the rollouts that 2-GRPO and 16-GRPO need for 90 % of 16-GRPO's gain."""
    found = [study.chosen(group_size=g, budget=FULL) for g in (2, 16)]
    cells = [cell for cell in found if cell]
    if len(cells) < 2:
        return None
    ours, theirs = (
        sigmoid.over_seeds(study, cell, sigmoid.rollouts_to(study, cell, 0.9)) for cell in cells
    )
    ratio = measured(study, (ours / theirs).interval(), *cells)
    return replace(ratio, num_problems=0)  # of validation, over seeds alone


def _dpo(sync: int | None) -> Cell:
    return chosen(name="dpo_0.1", sync=sync)


def _pairs(sync: int | None) -> Cell:
    return chosen(name="two_grpo", sync=sync)


def _kept(name: str) -> tuple[Cell, Cell]:
    return chosen(name=name, budget=EIGHTH), chosen(name="kept", budget=EIGHTH)


def _noisy(group_size: int, rate: int, noise: float) -> Cell:
    return chosen(group_size=group_size, rate=rate, noise=noise)


CLAIMS: dict[str, list[Claim]] = {
    "learning_rate": [
        _at_least(
            "rate_part", "2-GRPO, large batch: the chosen rate gains on the linearly scaled ×8", 1,
            chosen(group_size=2, batch=8), chosen(group_size=2, batch=8, rate=8),
        ),
        _margin(
            "batch_part", "2-GRPO, rates chosen: the small batch is on par with the large one", 2,
            chosen(group_size=2, batch=1), chosen(group_size=2, batch=8),
        ),
        _at_most(
            "group_part", "rate and batch chosen for both, 2-GRPO stays below 16-GRPO", 0,
            chosen(group_size=2), chosen(group_size=16),
        ),
    ],
    "iso_compute": [
        _at_most(
            "eighth_not_on_par", "with an eighth of the rollouts 2-GRPO is below 16-GRPO", -2,
            chosen(group_size=2, budget=EIGHTH), chosen(group_size=16, budget=FULL),
        ),
        _margin(
            "quarter_on_par", "with a quarter of the rollouts 2-GRPO is on par with 16-GRPO", 2,
            chosen(group_size=2, budget=QUARTER), chosen(group_size=16, budget=FULL),
        ),
        _at_least(
            "ahead_at_an_eighth", "at an eighth of the rollouts each, 2-GRPO is ahead", 0,
            chosen(group_size=2, budget=EIGHTH), chosen(group_size=16, budget=EIGHTH),
        ),
        _claim(
            "rollouts_to_90", "2-GRPO needs half of 16-GRPO's rollouts for 90 % of its gain",
            0, 0.5, "at most 0.5", measure(_rollouts_to_90),
        ),
        _at_most(
            "scaled_rate_at_80_epochs", "at 80 epochs 2-GRPO's ×8 is below its chosen rate", -2,
            chosen(group_size=2, budget=FULL, rate=8), chosen(group_size=2, budget=FULL),
        ),
    ],
    "controls": [
        _at_most(
            "random_reward_16", "a random reward does not lift 16-GRPO above the initial policy", 2,
            _noisy(16, 1, 0.5), _base,
        ),
        _at_most(
            "random_reward_2", "nor 2-GRPO ×8", 2, _noisy(2, 8, 0.5), _base,
        ),
        _at_least(
            "noise_costs_pairs_more", "10 % of flips cost 2-GRPO ×8 more points than 16-GRPO", 0,
            _noisy(2, 8, 0), _noisy(2, 8, 0.1), _noisy(16, 1, 0), _noisy(16, 1, 0.1),
        ),
    ],
    "zero_variance": [
        _margin(
            "out_of_denominator", "at equal rollouts the denominator makes no difference", 2,
            *_kept("out_of_denominator"),
        ),
        _at_most("new_prompts_lose", "at equal rollouts new prompts lose", 0, *_kept("new_prompt")),
        _at_least("skipping_gains", "at equal rollouts skipping gains", 0, *_kept("skip_solved")),
    ],
    "pair_of_16": [
        _at_least(
            "seen", "a pair cut from 16 rollouts is above a pair sampled alone", 0,
            chosen(name="pair_of_16"), chosen(name="two_grpo"),
        ),
        _at_least(
            "trained_on", "16-GRPO is above the pair cut from 16", 0,
            chosen(name="grpo"), chosen(name="pair_of_16"),
        ),
    ],
    "grpo_dpo": [
        _margin("on_policy", "at sync 1, 2-GRPO and DPO are on par", 2, _pairs(1), _dpo(1)),
        _at_most("offline_grpo", "2-GRPO never synced is far below", -10, _pairs(None), _pairs(1)),
        _at_most("offline_dpo", "DPO never synced is far below", -10, _dpo(None), _dpo(1)),
        _margin("offline", "never synced, 2-GRPO and DPO agree", 5, _pairs(None), _dpo(None)),
    ],
}  # fmt: skip


def build(studies: Mapping[str, Runs], names: Iterable[str] = tuple(CLAIMS)) -> Exhibit:
    """The claims of the named studies; those of a study that is not there are not run."""
    every = [(claim, name) for name in names for claim in CLAIMS[name]]
    rows = [
        judge(claim, comparisons(studies[name]) if name in studies else []) for claim, name in every
    ]
    for row in rows:
        row["verdict"] = row["verdict"].replace("reproduced", "borne out")
    return exhibit("The claims of the studies", [claim for claim, _ in every], rows, NOTE)
