"""The reference of the command, made from the command: MkDocs puts it where a page says ``<!-- command reference -->``."""

from __future__ import annotations

import html
import re
from typing import Any

from typer.main import get_command

from twotower.cli.production import app

__all__ = ["command_markdown", "commands", "on_page_markdown"]

MARK = "<!-- command reference -->"


def commands() -> dict[str, Any]:
    """Every command by its name, in the order of ``twotower --help``."""
    group: Any = get_command(app)
    return dict(group.commands)


def command_markdown() -> str:
    """The whole reference: of each command its usage, what it does, its arguments and its options."""
    parts: list[str] = []
    for name, command in commands().items():
        context = command.make_context(f"twotower {name}", [], resilient_parsing=True)
        usage = re.sub(r"[{}]", "", command.get_usage(context).removeprefix("Usage: ")).replace("......", "...")
        parts += [f"## `twotower {name}` {{ #{name} }}", f"```text\n{' '.join(usage.split())}\n```", command.help or ""]
        records = [parameter.get_help_record(context) for parameter in command.params]
        parts += [_entry(*record, prefix=name) for record in records if record is not None]
    return "\n\n".join(parts)


def _entry(written: str, meaning: str, *, prefix: str) -> str:
    """A definition: how it is written, and its help, of which what stands in brackets at the end is the default and the bounds.

    Example:
        >>> print(_entry("-k, --k <int range>", "How many items.  [default: 10; x>=1]", prefix="similar"))
        `-k, --k`{ #similar-k } <span class="key-type">int range</span> <span class="key-default">default: 10; x&gt;=1</span>
        <BLANKLINE>
        :   How many items.
    """
    # the names, joined by commas or slashes, and then what may be written for the value
    names, _, value = re.sub(r"(?<![,/]) (?!/)", "\n", written, count=1).partition("\n")
    value = re.sub(r"^list\[(\w+)\]$", r"\1", value.strip("<>")).replace("Path", "path")
    meaning, _, rest = meaning.partition("  [")
    anchor = f"{prefix}-{re.sub(r'[^a-z0-9]+', '-', re.split(', | / ', names)[-1].lower()).strip('-')}"
    shown = f' <span class="key-type">{html.escape(value)}</span>' if value else ""
    shown += f' <span class="key-default">{html.escape(rest.removesuffix("]"))}</span>' if rest else ""
    return f"`{names}`{{ #{anchor} }}{shown}\n\n:   {meaning}"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs for every page."""
    return markdown.replace(MARK, command_markdown()) if MARK in markdown else markdown
