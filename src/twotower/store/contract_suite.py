"""What a log has to pass to be one, for whoever writes another: plain functions that raise AssertionError.

Each check asks for logs of its own, empty ones, from a function that is given the kinds of their ids. With pytest:

    @pytest.mark.parametrize("check", ITEM_LOG_CHECKS, ids=lambda check: check.__name__)
    def test_items(check):
        check(lambda item_kind: MemoryStore(item_kind=item_kind, user_kind="text"))

    @pytest.mark.parametrize("check", INTERACTION_LOG_CHECKS, ids=lambda check: check.__name__)
    def test_interactions(check):
        check(lambda user_kind, item_kind: MemoryStore(item_kind=item_kind, user_kind=user_kind))

That what was written outlasts the process is for each log to prove in its own way.
"""

from twotower.store.interaction_log_suite import INTERACTION_LOG_CHECKS, MakeInteractionLog
from twotower.store.item_log_suite import ITEM_LOG_CHECKS, MakeItemLog

__all__ = ["INTERACTION_LOG_CHECKS", "ITEM_LOG_CHECKS", "MakeInteractionLog", "MakeItemLog"]
