"""report.html: all exhibits on one self-contained page; report.md: the same as Markdown.

Names in a record may be hostile: the template escapes everything, and the page may load nothing.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from analysis.exhibits.exhibit import Exhibit, markdown, plain_markdown
from analysis.paper import claims
from analysis.records.frames import Runs
from analysis.report import pairs, summary
from analysis.stats.comparison import comparisons
from twogrpo.run_record.arms import arm_label

TEMPLATE = Path(__file__).with_name("report.html.j2")


def write(
    runs: Runs, exhibits: Sequence[Exhibit], out: Path, *, theory: str = claims.THEORY
) -> None:
    """Writes `out/report.html` and `out/report.md`; the exhibits are in `out` already."""
    shown = [*exhibits, runs_exhibit(runs)]
    (out / "report.html").write_text(html(runs, shown, out), encoding="utf-8")
    (out / "report.md").write_text(as_markdown(runs, shown, theory), encoding="utf-8")


def html(runs: Runs, exhibits: Sequence[Exhibit], out: Path) -> str:
    """The page with the figures of `out` inside: it needs no other file and no network."""
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    settings = comparisons(runs)
    return template.render(
        title=summary.title(settings),
        toy_scale=summary.TOY_SCALE if summary.is_toy(settings) else None,
        headlines=[summary.headline(comparison) for comparison in settings],
        expected=summary.EXPECTED,
        expectations=[pair for comparison in settings for pair in summary.expectations(comparison)],
        reading=summary.READING,
        sections=[_section(exhibit, out) for exhibit in exhibits],
        pairs_title=pairs.TITLE,
        pairs_note=pairs.NOTE,
        arms_with_pairs=pairs.arms(runs),
        provenance=summary.provenance(runs),
    )


def as_markdown(runs: Runs, exhibits: Sequence[Exhibit], theory: str) -> str:
    """The summary, then a section for each exhibit."""
    parts = [summary.build(runs, theory=theory)]
    for exhibit in exhibits:
        title, note = map(plain_markdown, (exhibit.title, exhibit.note))
        figure = f"![{title}]({exhibit.name}.png)" if exhibit.figure is not None else ""
        table = markdown(exhibit.table) if exhibit.table is not None else ""
        parts += [f"## {title}", figure, table, note]
    return "\n\n".join(part.rstrip() for part in parts if part) + "\n"


def runs_exhibit(runs: Runs) -> Exhibit:
    """The list of the runs, one a row."""
    names = ["run_id", "dataset", "model", "arm", "seed", "commit", "code", "started", "identity"]
    frame = runs.runs[names]
    short = {name: frame[name].astype(str).str[:10] for name in ("commit", "identity")}
    table = frame.assign(arm=[arm_label(key) for key in frame["arm"]], **short)
    return Exhibit("runs", "The runs", frame, table=table.astype(str))


def _section(exhibit: Exhibit, out: Path) -> dict[str, Any]:
    return {
        "name": exhibit.name,
        "title": exhibit.title,
        "note": exhibit.note,
        "image": _inlined(exhibit, out),
        "columns": [] if exhibit.table is None else list(exhibit.table.columns),
        "rows": [] if exhibit.table is None else _cells(exhibit.table),
    }


def _cells(table: pd.DataFrame) -> list[list[list[str]]]:
    """The cells as text, in parts: every second one is an interval, which no line breaks."""
    return [
        [re.split(r"(\[[^][]*\])", str(cell)) for cell in row] for row in table.to_numpy().tolist()
    ]


def _inlined(exhibit: Exhibit, out: Path) -> str:
    if exhibit.figure is None:
        return ""
    return base64.b64encode((out / f"{exhibit.name}.png").read_bytes()).decode()
