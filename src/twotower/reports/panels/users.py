"""Example users: what they liked, what is recommended, what they chose."""

from __future__ import annotations

from twotower.reports.content import Choice, ExampleUser, Report
from twotower.reports.markup import Html, element
from twotower.reports.panel import Panel

__all__ = ["users_panel"]


def users_panel(report: Report) -> Panel | None:
    """Users of the first run."""
    run = report.runs[0]
    if not run.users_shown:
        return None
    of = f" of {run.label}" if len(report.runs) > 1 else ""
    # only these splits are sure to test what came after what was trained on
    later = run.facts.recipe.get("split.kind") in ('"time"', '"leave_last_out"')
    choices = "the user's later choices" if later else "the user's test rows"
    lead = (
        f"Drawn by the recipe's seed from the users of the test rows{of}. Lists are made for the first test row, "
        f"without what was seen; ✓ marks what the list and {choices} have in common.",
    )
    return Panel("users", "Example users", lead, tuple(_user(user, later=later) for user in run.users_shown))


def _user(user: ExampleUser, *, later: bool) -> Html:
    more = user.history_length - len(user.history)
    earlier = f"and {more:,} earlier" if more > 0 and user.history else None
    rest = user.chosen_count - len(user.chosen)
    liked, chose = ("liked before", "then chose") if later else ("known to have liked", "also chose (test rows)")
    return element(
        "div",
        element("h3", f"{user.kind[:1].upper()}{user.kind[1:]}: user {user.user}"),
        element("p", user.details, class_="small") if user.details else None,
        element(
            "div",
            _column(f"{liked} ({user.history_length:,}), the latest first", user.history, earlier, "nothing yet"),
            _column("we recommend", user.recommended, None, "nothing is left to recommend"),
            _column(f"{chose} ({user.chosen_count:,})", user.chosen, f"and {rest:,} more" if rest > 0 else None, "nothing"),
            class_="columns",
        ),
        class_="user",
    )


def _column(title: str, choices: tuple[Choice, ...], more: str | None, nothing: str) -> Html:
    entries = [
        element(
            "li",
            element("span", "✓ ", class_="mark") if choice.marked else None,
            choice.title,
            element("span", f" {choice.details}", class_="small") if choice.details else None,
            class_="hit" if choice.marked else None,
        )
        for choice in choices
    ]
    return element(
        "div",
        element("h4", title),
        element("ol", *entries) if entries else element("p", nothing, class_="small"),
        element("p", more, class_="small") if more else None,
    )
