"""Charts as tables."""

from __future__ import annotations

from twotower.reports.chart import DotChart, Dots, Line, LineChart, Points, PointsChart, figure_text


def chart(*lines: Line, **changes: object) -> LineChart:
    fields: dict[str, object] = {"x_label": "k", "y_label": "recall", "lines": lines, **changes}
    return LineChart("key", "Title", "Caption.", **fields)  # type: ignore[arg-type]


def test_lines_that_lack_a_place_have_an_empty_cell() -> None:
    table = chart(Line("a", (1.0, 2.0), (0.5, 0.25), 0), Line("b", (2.0, 3.0), (0.125, 1.0), 1)).table()
    assert table.header == ("k", "a", "b")
    assert table.rows == (("1", ".5000", ""), ("2", ".2500", ".1250"), ("3", "", "1"))
    assert table.note == ""


def test_the_table_of_a_histogram_has_a_row_per_bin() -> None:
    table = chart(Line("a", (0.0, 0.5, 1.0), (0.25, 0.75), 0), shape="steps").table()
    assert table.header[0] == "k, from"
    assert table.rows == (("0", ".2500"), (".5000", ".7500"))


def test_a_long_table_keeps_both_ends_and_says_what_it_leaves_out() -> None:
    places = tuple(float(x) for x in range(1, 1001))
    table = chart(Line("a", places, places, 0)).table()
    assert len(table.rows) == 120
    assert (table.rows[0][0], table.rows[-1][0]) == ("1", "1,000")
    assert "120 of 1000" in table.note


def test_named_places_are_called_by_their_names() -> None:
    table = chart(Line("a", (1.0, 2.0), (0.5, 0.5), 0), x_names=("one", "not in\ntrain")).table()
    assert [row[0] for row in table.rows] == ["one", "not in train"]


def test_dots_are_told_with_their_intervals() -> None:
    dots = (Dots("a", (0.5, None), (0.25, None), (0.75, None), 0), Dots("b", (0.1, 0.2), (None, None), (None, None), 1))
    table = DotChart("key", "Title", "Caption.", "group", "recall", ("head\n12 rows", "tail"), dots).table()
    assert table.header == ("group", "a", "b")
    assert table.rows == (("head 12 rows", ".5000 (.2500 to .7500)", ".1000"), ("tail", "", ".2000"))


def test_points_are_listed_from_the_outside() -> None:
    kinds = (Points("near", (0.0,), (0.0,), ("origin",), 0), Points("far", (3.0, -1.0), (4.0, 0.0), ("five", "one"), 1))
    table = PointsChart("key", "Title", "Caption.", "x", "y", kinds).table()
    assert [(row[0], row[3]) for row in table.rows] == [("five", "far"), ("one", "far"), ("origin", "near")]
    many = Points("all", tuple(map(float, range(200))), (0.0,) * 200, ("t",) * 200, 0)
    table = PointsChart("key", "Title", "Caption.", "x", "y", (many,)).table()
    assert len(table.rows) == 120
    assert "other 80" in table.note


def test_figures_keep_what_can_be_read() -> None:
    assert [figure_text(v) for v in (0.00004, 0.00006, 0.99999, 1.0, 999.994, 1000.5)] == [
        "4.0e-05", ".0001", "1.00", "1", "999.99", "1,000",
    ]  # fmt: skip
