"""Nothing that is shown can become markup."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from twotower.reports.markup import Html, element, joined


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.text(alphabet="<>&\"'a /=;", max_size=30))
def test_text_and_attributes_come_back_as_they_were(text: str) -> None:
    reader = Reader()
    reader.feed(element("p", text, title=text).text)
    reader.close()
    assert reader.tags == [("p", [("title", text)])]
    assert reader.text == text


def test_markup_is_passed_on_and_none_left_out() -> None:
    inner = element("b", "&")
    assert joined("<", None, inner, Html("<hr>")).text == "&lt;<b>&amp;</b><hr>"
    assert element("meta", name_="x", http_equiv="y", hidden=True, lang=None, dir=False).text == (
        '<meta name="x" http-equiv="y" hidden>'
    )
