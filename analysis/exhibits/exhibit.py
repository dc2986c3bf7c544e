"""An exhibit: a data frame, perhaps with a figure and a table, and its files."""

from __future__ import annotations

import base64
import html
import re
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis.records.frames import Runs, load
from twogrpo.errors import ConfigError, in_one_line
from twogrpo.run_record.files import LEFT_OUT, check_report_folder

# A spreadsheet runs a cell that begins like this as a formula; names in a record may be hostile.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
LATEX = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}"}
LATEX |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}
LATEX |= {"±": r"$\pm$", "Δ": r"$\Delta$", "×": r"$\times$", "–": "--", "²": r"$^2$", "≥": r"$\ge$"}
LATEX |= {"−": "$-$", "β": r"$\beta$", "π": r"$\pi$", "≤": r"$\le$", "r̄": r"$\bar r$", "\n": " "}


@dataclass
class Exhibit:
    """One table or figure, and the frame with its numbers.

    `table` is for readers: cells of text, column heads with units. `note` says how to read it.
    """

    name: str
    title: str
    frame: pd.DataFrame
    table: pd.DataFrame | None = None
    figure: Figure | None = None
    note: str = ""

    def _repr_html_(self) -> str:
        """The exhibit in a notebook: figure, table, note."""
        parts = [f"<h4>{html.escape(self.title)}</h4>"]
        if self.figure is not None:
            image = BytesIO()
            self.figure.savefig(image, format="png", dpi=110)
            data = base64.b64encode(image.getvalue()).decode()
            alt = html.escape(self.title)
            parts.append(f'<img alt="{alt}" src="data:image/png;base64,{data}">')
        if self.table is not None:
            parts.append(self.table.to_html(index=False, border=0))
        return "\n".join([*parts, f"<p>{html.escape(self.note)}</p>"])


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The frame's rows, by column name."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


Build = Callable[[Runs], Exhibit]


def write(exhibit: Exhibit, out: Path) -> None:
    """Writes `out/<name>.csv`, .md and .tex of a table, and .png and .pdf of a figure."""
    out.mkdir(parents=True, exist_ok=True)
    write_csv(exhibit.frame, out / f"{exhibit.name}.csv")
    if exhibit.table is not None:
        title, note = map(plain_markdown, (exhibit.title, exhibit.note))
        text = f"**{title}**\n\n{markdown(exhibit.table)}\n{note}\n"
        (out / f"{exhibit.name}.md").write_text(text.rstrip() + "\n", encoding="utf-8")
        (out / f"{exhibit.name}.tex").write_text(
            latex(exhibit.table, exhibit.title), encoding="utf-8"
        )
    if exhibit.figure is not None:
        # No date and no program version inside, so that the same figure is the same file.
        exhibit.figure.savefig(out / f"{exhibit.name}.png", metadata={"Software": None})
        metadata = {"CreationDate": None, "Producer": None, "Creator": None}
        exhibit.figure.savefig(out / f"{exhibit.name}.pdf", metadata=metadata)


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Writes six significant digits or the whole number, and no text that a spreadsheet runs."""
    safe = frame.copy()
    for name in safe.columns:
        if not pd.api.types.is_numeric_dtype(safe[name]):
            cells = [escape_formula(value) for value in safe[name]]
            safe[name] = pd.Series(cells, index=safe.index, dtype=object)
    safe.to_csv(path, index=False, float_format=_digits, lineterminator="\n")


def _digits(value: float) -> str:
    return f"{value:.0f}" if value.is_integer() and abs(value) < 2**53 else f"{value:.6g}"


def escape_formula(value: object) -> object:
    """The text with a leading ' where a spreadsheet would run it; a number as it is.

    >>> escape_formula("=1+1"), escape_formula("2-GRPO"), escape_formula(-1)
    ("'=1+1", '2-GRPO', -1)
    """
    is_formula = isinstance(value, str) and value.startswith(FORMULA_STARTS)
    return f"'{value}" if is_formula else value


def markdown(table: pd.DataFrame) -> str:
    """The table as a Markdown pipe table, its cells as plain text."""
    rows = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    cells = [[plain_markdown(str(value)).replace("|", "\\|") for value in row] for row in rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def plain_markdown(text: str) -> str:
    r"""The text in one line; its HTML, links and images are shown instead of obeyed.

    >>> plain_markdown("<b> ![x](https://example.org) [89.1, 92.9] (97.6)")
    '&lt;b&gt; ![x]\\(https://example.org) [89.1, 92.9] (97.6)'
    """
    return re.sub(r"\](?=[(\[:])", r"]\\", " ".join(html.escape(text, quote=False).split()))


def latex(table: pd.DataFrame, caption: str) -> str:
    """The table as a LaTeX booktabs table, every cell escaped."""
    columns = "l" + "r" * (len(table.columns) - 1)
    rows = [list(table.columns), *table.to_numpy().tolist()]
    lines = [[_latex_cell(value) for value in row] for row in rows]
    head, *body = [" & ".join(cells) + r" \\" for cells in lines]
    return "\n".join(
        [
            r"\begin{table}\centering\small",
            rf"\caption{{{_latex_cell(caption)}}}",
            rf"\begin{{tabular}}{{{columns}}}\toprule",
            *[head, r"\midrule", *body],
            r"\bottomrule\end{tabular}\end{table}",
            "",
        ]
    )


def _latex_cell(value: object) -> str:
    text = str(value).replace("r̄", "\0")
    return "".join(LATEX.get(c, c) for c in text).replace("\0", LATEX["r̄"])


def arguments(argv: list[str], **defaults: str) -> dict[str, str]:
    """Returns the values of `key=value` words, as on Hydra's command lines.

    Raises:
        ConfigError: a word is no key=value, or a key is unknown.
    """
    values = dict(defaults)
    for word in argv:
        key, equals, value = word.partition("=")
        if not equals or key not in defaults:
            known = " ".join(f"{name}={default}" for name, default in defaults.items())
            raise ConfigError(f"{word}: give key=value with a key of: {known}")
        values[key] = value
    return values


def truth(key: str, value: str) -> bool:
    """Raises ConfigError unless the value is true or false."""
    if value.lower() not in ("true", "false"):
        raise ConfigError(f"{key}={value} is neither true nor false: use one of them")
    return value.lower() == "true"


def whole(key: str, value: str, *, at_least: int) -> int:
    """Raises ConfigError unless the value is a whole number of at least this."""
    if not re.fullmatch(r"-?[0-9]{1,9}", value) or int(value) < at_least:
        raise ConfigError(f"{key}={value} is out of range: use a whole number, {at_least} or more")
    return int(value)


def report_folder(source: str) -> Path:
    """The folder for the exhibits of a source if out= is not given: `report` in the runs' folder.

    The exhibits of the records in the repository lie next to these.

    >>> print(report_folder("runs/cpu/"), report_folder("wandb://me/sweep"))
    runs/cpu/report runs/sweep/report
    >>> print(report_folder("results/cpu/runs"))
    results/cpu
    """
    if source.startswith("wandb://"):
        return Path("runs", source.rstrip("/").rpartition("/")[2], "report")
    kind, colon, path = source.partition(":")
    folder = Path(path if colon else kind)
    is_committed = (folder.name, folder.absolute().parent.parent.name) == ("runs", "results")
    return folder.parent if is_committed else folder / "report"


def command(
    run: Callable[..., None],
    sources: Callable[[], list[str]] = lambda: ["runs"],
    **further: str,
) -> None:
    """Runs `python -m analysis.<module> runs=… out=… allow_mixed=…`; a mistake is one line, exit 2.

    `sources` are the runs where runs= is not given; `further` are the defaults of further keys,
    which are passed to `run`.
    """
    if {"-h", "--help"} & set(sys.argv[1:]):
        keys = " ".join(["runs= out= allow_mixed=false", *(f"{k}=" for k in further)])
        print(f"{sys.modules['__main__'].__doc__}\nkeys: {keys}")  # noqa: T201
        return
    with guard():
        usual = {"runs": "", "out": "", "allow_mixed": "false"}
        given = arguments(sys.argv[1:], **usual, **further)
        mixed = truth("allow_mixed", given["allow_mixed"])
        for source in [given["runs"]] if given["runs"] else sources():
            out = Path(given["out"]) if given["out"] else report_folder(source)
            check_report_folder("out", str(out))
            runs = load(source, allow_mixed=mixed)
            out.mkdir(parents=True, exist_ok=True)
            if not (out / LEFT_OUT).exists():  # by it the folder is known as ours
                write_csv(runs.excluded, out / LEFT_OUT)
            run(runs, out, **{key: given[key] for key in further})
            print(f"{out}: {runs.runs['run_id'].nunique()} runs of {source}", file=sys.stderr)  # noqa: T201


def guard() -> AbstractContextManager[None]:
    """Ends the process with a line where a user can help; see twogrpo/errors.py."""
    return in_one_line(lambda: {key: value for key, _, value in map(_parted, sys.argv[1:])})


def _parted(word: str) -> tuple[str, str, str]:
    return word.partition("=")


def main(build: Build) -> None:
    """The command of a module with one exhibit."""
    command(lambda runs, out: write(build(runs), out))
