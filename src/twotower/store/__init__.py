"""What changes while a recommender serves, kept durably: items put and removed, and users' interactions."""

from twotower.store.contract import IdKind, Interaction, InteractionLog, ItemChange, ItemLog, LoggedInteraction
from twotower.store.live_store import LiveStore, StoreFacts
from twotower.store.memory import MemoryStore
from twotower.store.redis_store import RedisStore

__all__ = [
    "IdKind",
    "Interaction",
    "InteractionLog",
    "ItemChange",
    "ItemLog",
    "LiveStore",
    "LoggedInteraction",
    "MemoryStore",
    "RedisStore",
    "StoreFacts",
]
