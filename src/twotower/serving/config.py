"""What a service is told: where its model is, who may write, and how much it takes on."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from twotower.config import Config

__all__ = ["Limits", "ServiceConfig"]


class Limits(Config):
    """How much a service takes on; what is beyond is refused at once, with a status that says so.

    Attributes:
        max_body_bytes: Of a request; beyond: 413.
        max_queries: In one call, and ids of one call that asks for similar items; beyond: 422.
        max_k: Items per query; beyond: 422.
        max_history: Items of a history that a request gives; beyond: 422.
        max_ids: Entries of ``exclude`` and of ``only``, and items or interactions of one write; beyond: 422.
        max_waiting: Calls that wait for an answer at a time; beyond: 503 with Retry-After.
        max_per_client: Of one client's address; beyond: 429 with Retry-After. 0: no limit (a proxy has one address).
        max_seconds: Until an answer; beyond: 503 with Retry-After.
        body_seconds: Until a request's body is there; beyond: 408.
        batch_queries: Queries that are answered together.
    """

    max_body_bytes: int = Field(default=2**20, ge=1024)
    max_queries: int = Field(default=256, ge=1)
    max_k: int = Field(default=1000, ge=1)
    max_history: int = Field(default=1000, ge=1)
    max_ids: int = Field(default=10_000, ge=1)
    max_waiting: int = Field(default=256, ge=1)
    max_per_client: int = Field(default=0, ge=0)
    max_seconds: float = Field(default=5.0, gt=0)
    body_seconds: float = Field(default=10.0, gt=0)
    batch_queries: int = Field(default=64, ge=1)


class ServiceConfig(Config):
    """A service.

    Attributes:
        model: A run folder, a bundle, or a folder of published versions.
        store: The file of what changes while it serves, or the URL of a Redis server (`twotower.serving.stores`); None: a file
            beside the model.
        token_file: Holds the token that writes need, in its first line; None: nobody may write.
        private: Reading needs the token too (health and metrics excepted).
        page: Whether there is a page at ``/``, and what it asks for: names of items and users.
        limits: How much it takes on.
        threads: That answer queries in one process, beside the one that speaks HTTP; None: half of its share of the cores.
        poll_seconds: How often another process's choice of version is looked for.
    """

    model: Path
    # a URL stays text, also when it is read from JSON; it may hold a password
    store: str | Path | None = Field(default=None, repr=False, union_mode="left_to_right")
    token_file: Path | None = None
    private: bool = False
    page: bool = True
    limits: Limits = Limits()
    threads: int | None = Field(default=None, ge=1)
    poll_seconds: float = Field(default=0.2, gt=0)
