"""Table 2: covariance of the mean positive and the mean negative gradient across prompts.

Measured by `python -m analysis.theory`, whose covariance.csv is compared with the paper's.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis.exhibits.exhibit import Exhibit, records
from analysis.records import published

COLUMNS = ["source", "num_prompts", "same_prompt", "same_low", "same_high"]
COLUMNS += ["permuted", "permuted_low", "permuted_high", "p_value"]


def build(covariance: pd.DataFrame) -> Exhibit:
    """A row for each source, the published one last. The unit is that of squared gradients."""
    rows = [_row(str(source), part) for source, part in covariance.groupby("source", sort=False)]
    for printed in records(published.table(2)):
        rows.append(
            {
                "source": f"published: {printed['model']}, {printed['dataset']}",
                "num_prompts": printed["prompts"],
                "same_prompt": printed["covariance_same_prompt"],
                "permuted": printed["covariance_permuted"],
            }
        )
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return Exhibit(
        name="table_2",
        title="Table 2: covariance of positive and negative gradients",
        frame=frame,
        table=pd.DataFrame([_cells(row) for row in records(frame)]),
        note=(
            "Traces, 95 % bootstrap intervals over prompts; permuted: mean and range over random "
            "pairings. The size depends on the model; that the first is positive and far above "
            "the second is the claim."
        ),
    )


def read(folder: Path) -> pd.DataFrame | None:
    """Returns the covariance.csv of the theory, if there is one."""
    file = folder / "covariance.csv"
    return pd.read_csv(file) if file.exists() else None


def _row(source: str, part: pd.DataFrame) -> dict[str, object]:
    rows = part.set_index("statistic")
    row: dict[str, object] = {"source": source, "num_prompts": int(part["num_prompts"].max())}
    for name, short in (("covariance", "same"), ("covariance_permuted", "permuted")):
        row["same_prompt" if short == "same" else short] = rows.loc[name, "value"]
        row |= {f"{short}_low": rows.loc[name, "low"], f"{short}_high": rows.loc[name, "high"]}
    return row | {"p_value": rows.loc["covariance_permuted", "p_value"]}


def _cells(row: dict[str, float]) -> dict[str, str]:
    def cell(name: str, short: str) -> str:
        text = f"{row[name]:.4g}"
        low, high = row[f"{short}_low"], row[f"{short}_high"]
        return text if pd.isna(low) else f"{text} [{low:.3g}, {high:.3g}]"

    return {
        "source": str(row["source"]),
        "prompts": f"{row['num_prompts']:.0f}",
        "same prompt": cell("same_prompt", "same"),
        "permuted": cell("permuted", "permuted"),
        "p (permutation)": "–" if pd.isna(row["p_value"]) else f"{row['p_value']:.2g}",
    }
