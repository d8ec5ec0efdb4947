"""What is measured, how, and what others found by the same protocol: one entry for each data set.

A recipe that is added to an entry is run and shown beside the others; nothing else has to change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

__all__ = ["KNOWN", "PROTOCOLS", "Known", "Protocol", "Published"]

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


@dataclass(frozen=True)
class Published:
    """A row of somebody's table.

    Attributes:
        model: What it is called there.
        figures: By key, see `Protocol.keys`.
        source: Where it stands.
    """

    model: str
    figures: Mapping[str, float]
    source: str


@dataclass(frozen=True)
class Known:
    """What popularity finds, computed independently of this library.

    Attributes:
        figures: By metric, to four digits.
        ties: How the independent computation breaks ties: ``expected`` over random order, or by the ``lowest`` item number.
        removed: Whether seen items are left out.
        ends: By metric, the figure when every tie is lost and when every tie is won, where they were computed.
    """

    figures: Mapping[str, float]
    ties: Literal["expected", "lowest"] = "expected"
    removed: bool = True
    ends: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Protocol:
    """How a data set is split and judged.

    Attributes:
        title: In words.
        recipes: Files, by the name of the line of results; the first is what is judged against ``asked``.
        tables: What `quality_tables.prepare` is asked for; None where the recipe names a public data set.
        unit: ``row``: each test row by itself. ``user``: one list per user, against all of the user's test items.
        removed: Whether seen items are left out.
        metrics: Keys of the figures, the headline first.
        published: Figures of others by the same protocol.
        asked: What the first recipe has to reach, by key.
        goal: What it should reach, by key.
        variants: Further pairs of metric and ``removed`` that are told beside.
    """

    title: str
    recipes: Mapping[str, Path]
    tables: str | None
    unit: Literal["row", "user"]
    removed: bool
    metrics: tuple[str, ...]
    published: tuple[Published, ...] = ()
    asked: Mapping[str, float] = field(default_factory=dict)
    goal: Mapping[str, float] = field(default_factory=dict)
    variants: tuple[tuple[str, bool], ...] = ()

    @property
    def pairs(self) -> tuple[tuple[str, bool], ...]:
        """Every figure that is told: metric, and whether seen items are left out."""
        return (*((metric, self.removed) for metric in self.metrics), *self.variants)

    @property
    def keys(self) -> tuple[str, ...]:
        """The same, as lines of results name them."""
        return tuple(f"{metric}{' removed' if removed else ''}" for metric, removed in self.pairs)


PROTOCOLS: Mapping[str, Protocol] = {
    "movielens-1m": Protocol(
        title="MovieLens-1M, leave-last-out in stable order of time, items with at least 5 ratings, history removed, per row",
        recipes={
            "movielens-1m-sequence": HERE / "movielens-1m-sequence.toml",
            "movielens-1m": ROOT / "recipes" / "movielens-1m.toml",
        },
        tables=None,
        unit="row",
        removed=True,
        metrics=("recall@10", "ndcg@10"),
        published=(
            Published("gSASRec", {"recall@10 removed": 0.3003, "ndcg@10 removed": 0.1726}, "gSASRec, arXiv 2308.07192"),
            Published(
                "SASRec+", {"recall@10 removed": 0.3159, "ndcg@10 removed": 0.1857}, "as it was given to us; no source checked"
            ),
        ),
        asked={"recall@10 removed": 0.308, "ndcg@10 removed": 0.178},
        goal={"recall@10 removed": 0.320, "ndcg@10 removed": 0.190},
    ),
    "movielens-1m-request-time": Protocol(
        title="The same, and the query knows when it is asked",
        recipes={"movielens-1m-request-time": HERE / "movielens-1m-request-time.toml"},
        tables=None,
        unit="row",
        removed=True,
        metrics=("recall@10", "ndcg@10"),
        published=(
            Published(
                "HSTU (over 3,706 items)",
                {"recall@10 removed": 0.3226, "ndcg@10 removed": 0.1880},
                "RecTools' benchmark, as it was given to us; no source checked",
            ),
            Published(
                "HSTU, large (over 3,706 items)",
                {"recall@10 removed": 0.3642, "ndcg@10 removed": 0.2164},
                "RecTools' benchmark, as it was given to us; no source checked",
            ),
        ),
        asked={"recall@10 removed": 0.315, "ndcg@10 removed": 0.184},
        goal={"recall@10 removed": 0.365, "ndcg@10 removed": 0.217},
    ),
    "gowalla": Protocol(
        title="Gowalla, fixed split, train removed, per user",
        recipes={"gowalla": HERE / "gowalla.toml"},
        tables="gowalla",
        unit="user",
        removed=True,
        metrics=("recall@20", "ndcg@20"),
        published=(
            Published("YoutubeDNN", {"recall@20 removed": 0.1754, "ndcg@20 removed": 0.1473}, "SimpleX, arXiv 2109.12613"),
            Published("MF with BSL", {"recall@20 removed": 0.1882, "ndcg@20 removed": 0.1584}, "BSL, arXiv 2312.12882"),
        ),
        asked={"recall@20 removed": 0.182, "ndcg@20 removed": 0.152},
        goal={"recall@20 removed": 0.192, "ndcg@20 removed": 0.162},
    ),
    "beauty": Protocol(
        title="Amazon Beauty (5-core), leave-last-out, history removed, per row",
        recipes={"beauty": HERE / "beauty.toml"},
        tables="beauty",
        unit="row",
        removed=True,
        metrics=("recall@10", "ndcg@10"),
        published=(
            Published("TIGER", {"recall@10 removed": 0.0648, "ndcg@10 removed": 0.0384}, "TIGER, arXiv 2305.05065"),
            Published(
                "SASRec with sampled softmax",
                {"recall@10 removed": 0.0921, "ndcg@10 removed": 0.0531},
                "eSASRec, arXiv 2508.06450",
            ),
        ),
        asked={"recall@10 removed": 0.088, "ndcg@10 removed": 0.050},
        goal={"recall@10 removed": 0.102, "ndcg@10 removed": 0.062},
    ),
    "movielens-100k": Protocol(
        title="MovieLens-100K, the reference's random split (seed 42), per row, seen in and removed",
        recipes={"movielens-100k": ROOT / "recipes" / "movielens.toml"},
        tables=None,
        unit="row",
        removed=False,
        metrics=("recall@100",),
        variants=(("recall@100", True),),
        published=(
            Published("TensorFlow Recommenders, [64, 32]", {"recall@100": 0.2919}, "measured for us, one run"),
            Published("EASE", {"recall@100 removed": 0.6285}, "measured for us"),
        ),
        asked={"recall@100": 0.455, "recall@100 removed": 0.650},
        goal={"recall@100": 0.470, "recall@100 removed": 0.670},
    ),
}
"""By name, in the order of the tables."""

# NDCG@10 is .0178 when every tie is lost and .0179 when every tie is won
_MOVIELENS_1M = (Known({"recall@10": 0.0363, "recall@200": 0.3412, "ndcg@10": 0.0178}),)

KNOWN: Mapping[str, tuple[Known, ...]] = {
    "movielens-1m": _MOVIELENS_1M,
    "movielens-1m-request-time": _MOVIELENS_1M,
    "gowalla": (Known({"recall@20": 0.0416, "ndcg@20": 0.0317}, ties="lowest"),),
    "beauty": (Known({"recall@10": 0.0136, "recall@200": 0.0852}, ends={"recall@10": (0.0130, 0.0141)}),),
    "movielens-100k": (
        Known({"recall@10": 0.0493, "recall@100": 0.2961}, removed=False, ends={"recall@100": (0.2939, 0.2984)}),
        Known({"recall@10": 0.0887, "recall@100": 0.4118}, ends={"recall@100": (0.4098, 0.4135)}),
    ),
}
"""By name. Counts are over all rows but the test rows."""
