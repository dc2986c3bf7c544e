"""The claims about gradients: their source, and their page."""

from pathlib import Path

import pytest

from analysis.paper import claims
from analysis.records.frames import Runs, load
from tests.analysis import recorded


def test_claims_about_gradients_come_from_the_theorys_files(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "covariance.csv").write_text(
        "source,num_prompts,statistic,value,low,high\n"
        "SmolLM2-135M,42,covariance,-5,-9,-1\ntiny model,90,covariance,2,1,3\n"
    )
    (tmp_path / "gradient_variance.csv").write_text(
        "source,group_size,variance,variance_low,variance_high\nexact,2,1,,\nexact,16,9,,\n"
        "SmolLM2-135M,2,4,0.35,0.45\nSmolLM2-135M,8,10,1,1\n"
        "tiny model,2,1.1,0.9,1.2\ntiny model,16,1.0,1,1\n"
    )
    built = claims.build(runs, theory=str(tmp_path))
    rows = built.frame.set_index("claim")
    assert rows.loc["gradient_covariance", ["measured", "n_problems"]].tolist() == [2, 90]
    assert rows.loc["gradient_covariance", "verdict"] == "reproduced"
    assert rows.loc["minibatch_drives_variance", "measured"] == pytest.approx(1.1)
    assert rows.loc["minibatch_drives_variance", "verdict"] == "reproduced"
    assert built.table is not None
    said = built.table.set_index("claim")["measured"]
    assert said["gradient_covariance"] == "2 [1, 3] (tiny model)"
    without = claims.build(runs, theory="nowhere").frame.set_index("claim")
    assert without.loc["gradient_covariance", "verdict"] == "not run"


@pytest.mark.parametrize(
    ("model", "said", "verdict"),
    [
        ("smollm2_135m", "0.4 [0.35, 0.45] (SmolLM2-135M, G = 2 over G = 8)", "not reproduced"),
        ("mine", "0.5 [0.4, 0.6] (mine, G = 2 over G = 4)", "not reproduced"),
        ("tiny", "–", "not run"),
    ],
)
def test_no_model_has_another_s_gradients(
    tmp_path: Path, model: str, said: str, verdict: str
) -> None:
    """A source is called as its model is in conf/model/, or by the theory's name for it."""
    recorded.add(tmp_path / "run", "two_grpo", config__model__name=model)
    (tmp_path / "gradient_variance.csv").write_text(
        "source,group_size,variance,variance_low,variance_high\n"
        "SmolLM2-135M,2,4,0.35,0.45\nSmolLM2-135M,8,10,1,1\nmine,2,2,0.4,0.6\nmine,4,4,1,1\n"
    )
    table = claims.build(load(str(tmp_path)), theory=str(tmp_path)).table
    assert table is not None
    row = table.set_index("claim").loc["minibatch_drives_variance"]
    assert row[["measured", "verdict"]].tolist() == [said, verdict]
