"""The forest plot: what is drawn where, by verdict."""

from itertools import pairwise

import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from analysis.exhibits.forest import ForestRow, forest
from analysis.exhibits.style import VERDICTS

NAN, INFINITE = float("nan"), float("inf")


def row(verdict: str = "reproduced", **values: float) -> ForestRow:
    given = {"published": 3.0, "measured": 2.0, "ci_low": 1.0, "ci_high": 2.5, "low": 0.0}
    given |= {"high": 4.0} | values
    return ForestRow("name", "what it says", bounds="at most 4", verdict=verdict, **given)


def axis_of(figure: Figure) -> Axes:
    figure.draw_without_rendering()
    return figure.axes[0]


def drawn(axis: Axes, marker: str) -> list[float]:
    """The x of the markers of a kind."""
    return [float(line.get_xdata()[0]) for line in axis.lines if line.get_marker() == marker]


@pytest.mark.parametrize("verdict", list(VERDICTS))
def test_a_verdict_is_said_by_word_colour_and_marker(verdict: str) -> None:
    colour, marker = VERDICTS[verdict]
    axis = axis_of(forest([row(verdict)]))
    assert len(drawn(axis, marker)) == 1
    [word] = [text for text in axis.texts if text.get_text() == verdict]
    assert to_hex(word.get_color()) == colour


def test_verdicts_are_read_on_white_and_told_apart() -> None:
    # "Borne out", of our own predictions, looks like "reproduced".
    of_paper = [name for name in VERDICTS if "borne out" not in name]
    assert len({VERDICTS[name][1] for name in of_paper}) == len(of_paper) == 3
    for name in of_paper:
        assert VERDICTS[name.replace("reproduced", "borne out")] == VERDICTS[name]
    for colour, _ in VERDICTS.values():
        linear = [((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
        luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        assert 1.05 / (luminance + 0.05) >= 4.5  # WCAG 2, level AA


def test_the_numbers_of_a_row_stand_in_their_order() -> None:
    axis = axis_of(forest([row()]))
    [published], [measured] = drawn(axis, "D"), drawn(axis, "o")
    assert measured < published
    segments = [[float(x) for x in line.get_xdata()] for line in axis.lines]
    edges = sorted({x for segment in segments for x in segment})
    # The bound 0, the interval from 1 to 2.5 with 2 measured, published 3, the bound 4.
    gaps = [b - a for a, b in pairwise(edges)]
    assert [round(gap / gaps[0], 6) for gap in gaps] == [1, 1, 0.5, 0.5, 1]


def test_what_is_missing_is_not_drawn_and_no_row_is_refused() -> None:
    nothing = {"published": NAN, "measured": NAN, "ci_low": NAN, "ci_high": NAN}
    rows = [
        row("not run", **nothing, low=-INFINITE, high=INFINITE),
        row("inconclusive", ci_low=NAN, ci_high=NAN),
        row(measured=INFINITE, ci_low=-INFINITE),
        row(published=1.0, measured=1.0, ci_low=1.0, ci_high=1.0, low=1 - 1e-9, high=1 + 1e-9),
    ]
    axis = axis_of(forest(rows))
    assert len(drawn(axis, "D")) == 3 and len(drawn(axis, "s")) == 1 and len(drawn(axis, "o")) == 1
    assert "–" in [text.get_text() for text in axis.texts]


def test_no_text_is_cut_and_no_column_runs_into_the_next() -> None:
    long = row("not reproduced", measured=-1234.5, ci_low=-2345.6, ci_high=-345.67)
    long = ForestRow(**{**vars(long), "says": "long words " * 12, "bounds": "between 0.8 and 1.25"})
    figure = forest([long] * 3)
    axis = axis_of(figure)
    boxes = [text.get_window_extent() for text in axis.texts]
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 for box in boxes)
    for one in boxes:
        for other in boxes:
            assert one is other or not one.overlaps(other)
