"""The bodies of requests and answers; what a client may rely on."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StrictBool, StrictFloat, StrictInt, StrictStr

__all__ = [
    "ActivateCall",
    "ActivateReply",
    "ExplainCall",
    "ExplainReply",
    "HealthReply",
    "HistoryReply",
    "InteractionsCall",
    "ItemsCall",
    "ModelReply",
    "ProblemReply",
    "Query",
    "ReadyReply",
    "RecommendCall",
    "RecommendReply",
    "SearchReply",
    "SimilarCall",
    "SimilarReply",
    "UsersReply",
    "WriteReply",
]

_INT64 = 2**63 - 1

Text: TypeAlias = Annotated[StrictStr, Field(max_length=512)]
ItemId: TypeAlias = Text | Annotated[StrictInt, Field(ge=-_INT64 - 1, le=_INT64)]
UserId: TypeAlias = ItemId
Number: TypeAlias = Annotated[StrictInt, Field(ge=-_INT64 - 1, le=_INT64)] | Annotated[StrictFloat, Field(allow_inf_nan=False)]
Scalar: TypeAlias = StrictBool | Number | Text
Condition: TypeAlias = Scalar | list[Scalar] | dict[str, Scalar | list[Scalar]]
FeatureValue: TypeAlias = Scalar | list[Scalar] | None


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Query(_Body):
    """Who asks: a known user, somebody described by features, a history, or several of these; at least one."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "anyOf": [
                {"required": [name], "properties": {name: {"not": {"type": "null"}}}}
                for name in ("user", "features", "history")
            ]
        },
    )

    user: UserId | None = Field(default=None, description="An id, of the type that the model's users have.", examples=["196"])
    features: dict[Text, FeatureValue] | None = Field(
        default=None, description="Columns of the query by name, see GET /v1/model; they win over what is stored."
    )
    history: list[ItemId | dict[Text, Scalar | None]] | None = Field(
        default=None,
        description=(
            "Item ids, the most recent last, in place of the stored history. Unknown ones are passed over. Of a model that "
            'reads more of events (see events of GET /v1/model), an entry is {"item": .., "time": ..}, and what else it reads.'
        ),
    )


class _Choice(_Body):
    k: StrictInt = Field(default=10, ge=1, description="Items per query; more than there are gives all that there are.")
    only: list[ItemId] | None = Field(default=None, description="Item ids to choose from; null: all.")
    where: dict[Text, Condition] = Field(
        default_factory=dict,
        description=(
            "A condition by column of the catalogue: a value, a list of values of which one must be there, "
            '{"min": .., "max": ..}, or {"not": ..}.'
        ),
        examples=[{"genres": ["Comedy"], "release_year": {"min": 1990}}],
    )
    columns: list[Text] = Field(default_factory=list, description="Columns of the catalogue that come along with each item.")


class RecommendCall(_Choice):
    """Queries, answered each by its own, with one set of wishes."""

    queries: list[Query] = Field(min_length=1)
    exclude_seen: StrictBool = Field(default=True, description="Leave out what the user is known to have met.")
    exclude: list[ItemId] = Field(default_factory=list, description="Item ids that are left out.")

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"queries": [{"user": "196"}], "k": 5}, {"queries": [{"history": []}], "k": 5}]},
    )


class SimilarCall(_Choice):
    """Items whose neighbours are asked for."""

    items: list[ItemId] = Field(min_length=1)


class ScoredItem(_Body):
    """An item of a list."""

    id: ItemId
    score: float = Field(description="Raw similarity, comparable within a query; of similar items the cosine.")
    columns: dict[str, Any] = Field(default_factory=dict, description="The columns that were asked for.")


class ProblemReply(_Body):
    """What is wrong (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str = ""
    errors: list[dict[str, Any]] = Field(default_factory=list)


class QueryReply(_Body):
    """The items of one query, best first; or its problem."""

    items: list[ScoredItem]
    assumed: dict[str, Any] = Field(description="What the query left out, and was filled in, by column.")
    problem: ProblemReply | None = Field(default=None, description="Why there are no items, where others have some.")


class RecommendReply(_Body):
    """Answers in the order of the queries."""

    version: str = Field(description="The version of the model that made every one of these answers.")
    results: list[QueryReply]


class SimilarReply(_Body):
    """Answers in the order of the items."""

    version: str
    results: list[QueryReply]


class ItemPut(_Body):
    """An item as it is from now on."""

    id: ItemId
    features: dict[Text, JsonValue] = Field(
        default_factory=dict, description="Columns of the catalogue, see GET /v1/model; what is left out is missing."
    )


class ItemsCall(_Body):
    """Items that are added, or take the place of what their ids had."""

    items: list[ItemPut] = Field(min_length=1)


class Interaction(_Body):
    """A user met an item."""

    user: UserId
    item: ItemId
    time: Number | None = Field(default=None, description="Unix seconds; null: now.")


class InteractionsCall(_Body):
    """What happened, appended to histories."""

    interactions: list[Interaction] = Field(min_length=1)


class WriteReply(_Body):
    """It is written, and the next answer knows it."""

    version: str
    accepted: int


class ActivateCall(_Body):
    """The version that is to answer from now on."""

    version: Text = Field(examples=["20260101T000000Z-1a2b3c4d"])


class ActivateReply(_Body):
    """The version that answers from now on, and the one before."""

    version: str
    previous: str


class ColumnReply(_Body):
    """A column: its type, and some of its values."""

    name: str
    type: str
    values: list[Any] = Field(default_factory=list, description="Of text of few different values: which.")


class ModelReply(_Body):
    """What answers, and what it can be asked."""

    version: str
    versions: list[str] = Field(description="That can be activated.")
    items: int = Field(description="That can be recommended now.")
    users: int = Field(description="That the model knows.")
    item_ids: str = Field(description="text or integers")
    user_ids: str = Field(description="text or integers")
    features: list[ColumnReply] = Field(description="That a query may give.")
    events: list[str] = Field(description="What an entry of a history may have; item alone: ids are all that is read.")
    columns: list[ColumnReply] = Field(description="Of the catalogue: for conditions, for answers, and for putting items.")
    index: str
    embedding_dim: int
    limits: dict[str, Any]
    metrics: dict[str, Any] = Field(description="Figures on held-out rows, as the run measured them.")
    item_column: str = Field(description="The catalogue's column of ids.")
    user_column: str = Field(description="The column of the users' ids.")
    writable: bool = Field(description="Whether a token is set, without which nobody may write.")
    private: bool = Field(description="Whether reading needs the token too.")


class NamedItem(_Body):
    """An item and its columns."""

    id: ItemId
    columns: dict[str, Any]


class SearchReply(_Body):
    """Items whose text has the words that were asked for."""

    version: str
    items: list[NamedItem]


class UsersReply(_Body):
    """Known users."""

    version: str
    users: list[UserId]


class HistoryReply(_Body):
    """What a user met, the most recent first."""

    version: str
    items: list[NamedItem]
    known: bool
    total: int


class ExplainCall(_Body):
    """Which items of a history pull an item up."""

    query: Query
    item: ItemId


class Pull(_Body):
    """An item of the history, and how much the score falls without it."""

    id: ItemId
    columns: dict[str, Any]
    pull: float


class ExplainReply(_Body):
    """The score of an item, and what each entry of the history adds to it (leave-one-out), the largest first."""

    version: str
    item: ItemId
    score: float
    without_history: float
    history: list[Pull]


class HealthReply(_Body):
    """The process lives."""

    status: Literal["alive"]


class ReadyReply(_Body):
    """It can answer."""

    status: Literal["ready"]
    version: str
