"""Tables as markup."""

from __future__ import annotations

from twotower.reports.chart import Table
from twotower.reports.panel import paragraphs, table_html


def test_cells_are_escaped_and_marked() -> None:
    table = Table(("ranker", "recall"), (("a<b", "1"), ("c", "2")), "a note & more")
    written = table_html(table, caption='"x"', strong_rows=frozenset({1})).text
    assert '<td class="text">a&lt;b</td><td>1</td>' in written
    assert '<tr class="strong"><td class="text">c</td>' in written
    assert written.count('class="strong"') == 1
    assert '<p class="caption">"x"</p>' in written
    assert 'aria-label="&quot;x&quot;"' in written
    assert "a note &amp; more" in written
    assert 'class="text">ranker</th><th class="text">recall' in table_html(table, text_columns=2).text


def test_every_sentence_is_a_paragraph() -> None:
    assert paragraphs("a", "b", class_="lead").text == '<p class="lead">a</p><p class="lead">b</p>'
