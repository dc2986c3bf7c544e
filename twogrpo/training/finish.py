"""The end of a run: exports and evaluates the policy and closes the record."""

from __future__ import annotations

import json
from typing import Any

from twogrpo.data import contamination
from twogrpo.data.files import dataset_file
from twogrpo.evaluation.card import write_card
from twogrpo.run_record.files import FINAL_OF, write_atomically
from twogrpo.run_record.rows import summary
from twogrpo.training.run import Run
from twogrpo.training.validate import evaluate_at_end


def finish(run: Run) -> None:
    """Exports the policy, evaluates it and closes the record.

    The last row has the seconds spent after the last step, on its checkpoint and the export.
    """
    config = run.config
    run.step = config.num_steps
    with run.timer.phase("export"):
        run.policy.export(run.record.folder / "final")
        if run.ranks.is_first:
            of_run = json.dumps({"identity": run.record.about["identity"]})
            write_atomically(run.record.folder / "final" / FINAL_OF, of_run)
    row: dict[str, Any] = {"step": config.num_steps, **run.timer.read()}
    if config.evaluation.at_end:
        row |= evaluate_at_end(run)
    run.record.log(row)
    if not run.ranks.is_first:
        return
    if config.evaluation.at_end:
        file = dataset_file(config.dataset)
        prepared = contamination.load_overlap(file.parent) if file else None
        write_card(run.record.folder, prepared)
    run.record.finish(summary(run.record.rows()))
