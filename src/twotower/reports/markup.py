"""HTML that can't be broken by what it shows: text is escaped unless it is markup already."""

from __future__ import annotations

from html import escape
from typing import NamedTuple

__all__ = ["Html", "element", "joined"]

_EMPTY = frozenset({"img", "br", "meta", "hr"})


class Html(NamedTuple):
    """Markup; made by `element` and `joined`, or by whoever vouches for its text.

    Attributes:
        text: The markup.
    """

    text: str


def element(name: str, *children: str | Html | None, **attributes: str | bool | None) -> Html:
    """An element with its children.

    Args:
        name: Of the element.
        children: Text, which is escaped, or markup; None is passed over.
        attributes: An underscore at the end is dropped (``class_``), the others become hyphens; True stands alone, None and
            False are left out.

    Example:
        >>> element("p", "a < b", element("b", "&"), class_="note").text
        '<p class="note">a &lt; b<b>&amp;</b></p>'
    """
    written = ""
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        written += f" {key}" if value is True else f' {key}="{escape(str(value), quote=True)}"'
    if name in _EMPTY:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{joined(*children).text}</{name}>")


def joined(*parts: str | Html | None) -> Html:
    """Parts one after the other; text is escaped."""
    return Html(
        "".join(part.text if isinstance(part, Html) else escape(part, quote=False) for part in parts if part is not None)
    )
