"""The claims: what bears them out, the source of those about gradients, and their page."""

from pathlib import Path

import pytest

from analysis.exhibits.claim_table import AFTER, verdict
from analysis.paper import claims, table_3
from analysis.records.frames import Runs, load
from tests.analysis import recorded


def test_claims_about_gradients_come_from_the_theorys_files(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "covariance.csv").write_text(
        "source,num_prompts,statistic,value,low,high\n"
        "SmolLM2-135M,42,covariance,-5,-9,-1\ntiny model,90,covariance,2,1,3\n"
    )
    (tmp_path / "gradient_variance.csv").write_text(
        "source,group_size,variance,relative_variance,relative_variance_low,relative_variance_high\n"
        "exact,2,1,1,,\nexact,16,9,2,,\n"
        "SmolLM2-135M,2,4,0.92,1.6,2.2\nSmolLM2-135M,8,10,0.5,1,1\n"
        "tiny model,2,0.2,2.2,0.9,1.2\ntiny model,16,1.0,2,1,1\n"
    )
    built = claims.build(runs, theory=str(tmp_path))
    rows = built.frame.set_index("claim")
    assert rows.loc["gradient_covariance", ["measured", "n_problems"]].tolist() == [2, 90]
    assert rows.loc["gradient_covariance", "verdict"] == "reproduced"
    # 2.2/2 where the variances themselves are 0.2 to 1: the advantages' scale does not count.
    assert rows.loc["minibatch_drives_variance_tiny", "measured"] == pytest.approx(1.1)
    assert rows.loc["minibatch_drives_variance_tiny", "verdict"] == "reproduced"
    assert rows.loc["minibatch_drives_variance_smollm2_135m", "verdict"] == "not reproduced"
    assert built.table is not None
    said = built.table.set_index("claim")["measured"]
    assert said["gradient_covariance"] == "2 [1, 3] (tiny model)"
    assert said["minibatch_drives_variance_smollm2_135m"] == (
        "1.84 [1.6, 2.2] (SmolLM2-135M, G = 2 over G = 8)"
    )
    without = claims.build(runs, theory="nowhere").frame.set_index("claim")
    for name in ("gradient_covariance", "minibatch_drives_variance"):
        assert without.loc[name, "verdict"] == "not run"


@pytest.mark.parametrize(("model", "measured"), [("smollm2_135m", -5), ("mine", 7), ("tiny", None)])
def test_no_model_has_another_s_covariance(
    tmp_path: Path, model: str, measured: float | None
) -> None:
    """A source is called as its model is in conf/model/, or by the theory's name for it."""
    recorded.add(tmp_path / "run", "two_grpo", config__model__name=model)
    (tmp_path / "covariance.csv").write_text(
        "source,num_prompts,statistic,value,low,high\n"
        "SmolLM2-135M,42,covariance,-5,-9,-1\nmine,9,covariance,7,1,9\n"
    )
    frame = claims.build(load(str(tmp_path)), theory=str(tmp_path)).frame.set_index("claim")
    row = frame.loc["gradient_covariance"]
    assert (row["verdict"] == "not run") if measured is None else (row["measured"] == measured)


def test_a_claim_that_came_after_its_result_says_so() -> None:
    """The others were committed before the first results: 1d0edfa before d549151."""
    late = {claim.name for claim in claims.claims(Path("nowhere")) if AFTER in claim.bounds}
    assert late == {"gradient_covariance", "minibatch_drives_variance"}
    assert AFTER in claims.RULES


def test_the_paper_s_claims_are_of_whole_models_and_adapters_have_their_own(tmp_path: Path) -> None:
    for arm in ("grpo_g16", "two_grpo"):
        recorded.add(tmp_path / "both" / arm, arm)
        lora = {"config__model__lora": {"rank": 32}, "identity": f"{arm}-lora"}
        with_adapters = recorded.changed(recorded.about(arm, 0), run_id=f"{arm}-lora", **lora)
        rows = recorded.rows("grpo_g16", 0)  # of both: a ratio of one
        for folder in ("both", "adapters"):
            recorded.write(tmp_path / folder / f"{arm}-lora", with_adapters, rows)
        recorded.add(tmp_path / "whole" / arm, arm)
    kinds = {
        kind: claims.build(load(str(tmp_path / kind)), theory="nowhere").frame.set_index("claim")
        for kind in ("both", "whole", "adapters")
    }
    measured = {kind: frame.loc["retention_avg", "measured"] for kind, frame in kinds.items()}
    assert measured["both"] == measured["whole"] < measured["adapters"]
    assert kinds["both"].loc["retention_avg_lora", "measured"] == measured["adapters"] == 1
    assert not {"retention_avg_lora"} & {*kinds["whole"].index, *kinds["adapters"].index}


def test_one_seed_decides_a_count_and_nothing_else(tmp_path: Path) -> None:
    for arm in ("base", "grpo_g16", "two_grpo", "two_grpo_rs"):
        recorded.add(tmp_path / arm, arm)
    built = claims.build(load(str(tmp_path)), theory="nowhere")
    frame = built.frame.set_index("claim")
    decided = frame[~frame["verdict"].isin(["inconclusive", "not run"])]
    assert set(decided.index) == {"rollout_share", "rs_update_share"}
    assert frame.loc["rollout_share", ["ci_low", "ci_high"]].tolist() == [0.125, 0.125]
    assert frame.loc["time_share", ["ci_low", "ci_high"]].isna().all()
    assert built.table is not None and "nan" not in built.table.to_string()


def test_the_rise_of_discarded_pairs_is_table_3_s(runs: Runs) -> None:
    rise = claims.build(runs, theory="nowhere").frame.set_index("claim")["measured"]
    table = table_3.build(runs).frame["discard_rate"]
    assert rise["discard_rate_rises"] == pytest.approx(table.iloc[-1] - table.iloc[0])


def test_a_rate_that_does_not_rise_does_not_bear_out_that_it_rises(tmp_path: Path) -> None:
    for seed in (0, 1):
        rows = recorded.rows("two_grpo", seed)
        for row in rows[:-1]:
            row["groups/discard_rate"] = 0.5
        recorded.write(tmp_path / str(seed), recorded.about("two_grpo", seed), rows)
    found = claims.build(load(str(tmp_path)), theory="nowhere").frame.set_index("claim")
    rise = found.loc["discard_rate_rises"]
    assert rise["measured"] == 0 and rise["verdict"] == "not reproduced"


def test_a_share_of_the_time_is_judged_by_its_upper_end() -> None:
    # A t-interval of a small share may reach below 0, which no share can.
    by_name = {claim.name: claim for claim in claims.claims(Path("nowhere"))}
    for name in ("time_share", "time_share_cpu", "rs_time_share", "rs_rollout_share"):
        assert verdict(-0.05, 0.25, by_name[name].low, by_name[name].high) == "reproduced"
