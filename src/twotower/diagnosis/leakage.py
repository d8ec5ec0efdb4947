"""Splits, histories and fits that give test rows away, and tests that ask for what can't be known."""

from __future__ import annotations

from dataclasses import dataclass

from twotower.diagnosis.finding import Finding

__all__ = ["TestKnowledge", "check_leakage"]

_LATER = 0.05
"""Share of test rows whose user has later train rows: equal times and clocks that are off make a few in a sound split."""
_OWN = 0.1
"""How much more often a train row finds its own item in its history than a test row does."""
_UNSEEN = 0.95
"""Share of test rows with an unseen user or item from which the test is one of unseen ones."""


@dataclass(frozen=True)
class TestKnowledge:
    """What a run knew of its test rows, as shares in [0, 1] of them; None where it can't be told.

    Attributes:
        split: Kind of the split.
        later_rows: Test rows whose user has train rows of a later time; None without times.
        later_histories: Test rows that read later items of their user from a history, by name of the feature.
        time_features: Features of the query that read the time.
        fit_on_all: Whether vocabulary, buckets and moments come from all rows.
        validate_on_test: Whether the curve that was watched in training is of test rows.
        own_in_train: Train rows that find their own item in their history, by name of the feature.
        own_in_test: The same of test rows.
        in_order: Those that an encoder reads, which has no ``own_item``, by name of the feature.
        cold_users: Test rows whose user has no train row.
        cold_items: Test rows whose item has no train row.
        only_user_ids: Whether the query reads nothing but the user's id.
        only_item_ids: Whether the candidate reads nothing but the item's id.
    """

    __test__ = False  # no test, whatever its name begins with

    split: str
    later_rows: float | None = None
    later_histories: tuple[tuple[str, float], ...] = ()
    time_features: tuple[str, ...] = ()
    fit_on_all: bool = False
    validate_on_test: bool = False
    own_in_train: tuple[tuple[str, float], ...] = ()
    own_in_test: tuple[tuple[str, float], ...] = ()
    in_order: tuple[str, ...] = ()
    cold_users: float = 0.0
    cold_items: float = 0.0
    only_user_ids: bool = False
    only_item_ids: bool = False


def check_leakage(evidence: TestKnowledge) -> Finding | None:
    """Find what makes the test figures those of another question; one finding, whatever the number of its ways."""
    found: list[str] = []
    fix: list[str] = []
    _later(evidence, found, fix)
    if evidence.fit_on_all:
        found.append("vocabulary, buckets and moments were fitted on all rows, test rows included (data.fit_on = 'all')")
        fix.append("data.fit_on = 'train'")
    if evidence.validate_on_test:
        found.append("the curve that was watched while training is of test rows (evaluation.validate_on = 'test')")
        fix.append("evaluation.validate_on = 'validation', with split.validation above 0")
    _own_items(evidence, found, fix)
    leaks = bool(found)
    _unseen(evidence, found, fix)
    if not found:
        return None
    return Finding(
        code="leakage",
        severity="fault",
        title="The test figures leak: what was trained on, or read, comes from after the test rows"
        if leaks
        else "The test can't be passed: all its users, or items, are unseen, and only ids are read",
        evidence=tuple(found),
        why="Figures say how well a model predicts what it can't know yet. Where it knows, they are too good, and by how "
        "much only "
        "an honest split tells; the model that is served has no such help."
        if leaks
        else "An id that train has never seen says nothing: all such users get one list, and all such items have one vector.",
        fix=tuple(fix),
    )


def _later(evidence: TestKnowledge, found: list[str], fix: list[str]) -> None:
    later = evidence.later_rows is not None and evidence.later_rows >= _LATER
    if later:
        found.append(
            f"{evidence.later_rows:.0%} of the test rows have a user with train rows of a later time (split.kind = "
            f"{evidence.split!r}): the model was trained on what came after them"
        )
    reading = [(name, share) for name, share in evidence.later_histories if share >= _LATER]
    if reading:
        shown = ", ".join(f"{name!r} in {share:.0%} of the test rows" for name, share in reading)
        found.append(f"histories hold items of after the test row: {shown}")
    if later and evidence.time_features:
        found.append(
            f"the query reads the time ({', '.join(map(repr, evidence.time_features))}): with train rows from before and "
            "after, "
            "it points at what the user was choosing right then"
        )
    if later or reading:
        fix.append("split.kind = 'time' (or 'leave_last_out'): test what came after what was trained on")
    if reading:
        fix.append("query.features: mode = 'before' for histories")


def _own_items(evidence: TestKnowledge, found: list[str], fix: list[str]) -> None:
    in_test = dict(evidence.own_in_test)
    for name, share in evidence.own_in_train:
        if share - in_test.get(name, 0.0) >= _OWN:
            found.append(
                f"history {name!r} holds the row's own item in {share:.0%} of the train rows, and in "
                f"{in_test.get(name, 0.0):.0%} of "
                "the test rows: in training the target is among its own inputs"
            )
            own = "" if name in evidence.in_order else f"query.features: own_item = 'exclude' for the history {name!r}, or "
            fix.append(f"{own}data.columns.repeats = 'first'")


def _unseen(evidence: TestKnowledge, found: list[str], fix: list[str]) -> None:
    if evidence.only_user_ids and evidence.cold_users >= _UNSEEN:
        found.append(
            f"{evidence.cold_users:.0%} of the test rows have a user without train rows, and the query reads only its id"
        )
        fix.append("query.features: add kind = 'history' or columns of the users; or split.kind = 'time'")
    if evidence.only_item_ids and evidence.cold_items >= _UNSEEN:
        found.append(
            f"{evidence.cold_items:.0%} of the test rows ask for an item without train rows, and the candidate is only an id"
        )
        fix.append("candidate.features: add columns of the items (text, categories, numbers)")
