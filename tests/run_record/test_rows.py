"""The schema of a record's rows, and the summary made of them, on rows worked by hand."""

import pytest

from twogrpo.run_record.rows import (
    benchmark_results,
    column_sums,
    summary,
    training_rows,
    training_seconds,
)

STEPS = [
    {
        "step": 0,
        "reward/mean": 0.1,
        "rollouts/generated": 4,
        "tokens/generated": 3,
        "seconds/update": 1.0,
        "seconds/validate": 10.0,
        "cpu_seconds/update": 0.5,
    },
    {
        "step": 1,
        "reward/mean": 0.2,
        "rollouts/generated": 8,
        "tokens/generated": 4,
        "seconds/update": 2.0,
        "seconds/generate": 0.5,
        "seconds/save": 0.25,  # of step 0's checkpoint
        "cpu_seconds/update": 0.5,
    },
]
RESULTS = {"evaluation/a/mean": 0.25, "evaluation/b/mean": 0.75, "evaluation/a/seconds": 40.0}
AFTER = {"seconds/save": 4.0, "seconds/export": 8.0, "cpu_seconds/save": 0.125}
FINAL = {
    "no final row": [],
    "an evaluation alone": [{"step": 2, **RESULTS}],
    "seconds alone": [{"step": 2, **AFTER}],
    "both": [{"step": 2, **AFTER, **RESULTS, "seconds/evaluate": 41.0}],
}
# Wall: 1 + 2 + 0.5 + 0.25 s in the steps, and 4 + 8 s after them; not 10 s of validation, not 40 or
# 41 s of evaluation. Processor: 0.5 + 0.5 s in the steps, and 0.125 s after them.
TRAINING = {
    "no final row": (3.75, 1.0),
    "an evaluation alone": (3.75, 1.0),
    "seconds alone": (15.75, 1.125),
    "both": (15.75, 1.125),
}


@pytest.mark.parametrize("final", FINAL)
def test_the_final_row_is_no_training_row_but_its_save_and_export_are_training_time(final):
    rows = STEPS + FINAL[final]
    assert training_rows(rows) == STEPS
    assert (training_seconds(rows), training_seconds(rows, "cpu_seconds")) == TRAINING[final]


def test_columns_are_summed_by_kind_over_all_rows():
    rows = STEPS + FINAL["both"]
    assert column_sums(rows, "seconds") == {
        "seconds/evaluate": 41.0,
        "seconds/export": 8.0,
        "seconds/generate": 0.5,
        "seconds/save": 4.25,
        "seconds/update": 3.0,
        "seconds/validate": 10.0,
    }
    assert column_sums(rows, "tokens") == {"tokens/generated": 7}


def test_benchmark_results_are_the_columns_of_three_parts_the_last_row_counts():
    rows = [{"evaluation/a/mean": 0.5, "evaluation/average": 0.5}, {"step": 2, **RESULTS, **AFTER}]
    assert benchmark_results(rows) == {"a": {"mean": 0.25, "seconds": 40.0}, "b": {"mean": 0.75}}
    assert benchmark_results(STEPS) == {}


def test_summary_has_sums_the_last_counters_and_the_average():
    found = summary(STEPS + FINAL["both"])
    assert found.items() >= column_sums(STEPS + FINAL["both"], "seconds").items()
    assert (found["seconds/training"], found["cpu_seconds/training"]) == TRAINING["both"]
    assert found["tokens/generated"] == 7
    assert found["rollouts/generated"] == 8  # cumulative already: the last one, not the sum
    assert found["evaluation/average"] == 0.5
    assert summary([]) == {"seconds/training": 0, "cpu_seconds/training": 0}
