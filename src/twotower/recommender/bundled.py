"""A recommender as a bundle: what is written, and how it is read back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from twotower.bundle import JSON, Bundle, write_bundle
from twotower.config import parse_config
from twotower.data import Histories, IdTable
from twotower.errors import BundleError, ConfigError
from twotower.models import ModelBuilder, TwoTower, builder_name, check_columns, load_state, weights_of
from twotower.preprocessing import Preprocessor
from twotower.recommender.history_inputs import event_column
from twotower.recommender.requests import RequestDefaults
from twotower.recommender.stored_users import StoredUsers
from twotower.spec import ModelSpec
from twotower.types import Ragged

_COLUMN = "column:"

__all__ = ["RecommenderParts", "bundle_folder", "read_parts", "write_parts"]


class RecommenderParts(NamedTuple):
    """What a recommender is made of, and a bundle holds; fields as the arguments of `Recommender`."""

    model: TwoTower
    preprocessor: Preprocessor
    catalogue: IdTable
    item_vectors_ND: Tensor
    users: StoredUsers
    defaults: RequestDefaults
    card: Mapping[str, JSON]


def write_parts(path: Path, parts: RecommenderParts, *, builder: ModelBuilder) -> None:
    """Write a bundle, atomically: the folder is the old one, or the new one, whole.

    Args:
        path: Replaced when it is a bundle.
        parts: What to write. Tables of its model that ranks share are read from them: then this is what rank 0 does within
            `twotower.distributed.stream_tables`.
        builder: What built the model; the bundle remembers its name.

    Raises:
        ConfigError: If the model's tables still go through a propagation.
    """
    if parts.model.embeddings.propagation is not None:
        raise ConfigError(
            "a bundle holds tables as they are looked up, and this model still propagates its own: call "
            "model.embeddings.settle() when it is trained, and encode the catalogue after that"
        )
    histories, disliked = parts.users.item_histories, parts.users.disliked
    tensors = {"offsets": histories.offsets, "item_rows": histories.item_rows, "first": histories.first}
    if histories.times is not None:
        tensors["times"] = histories.times
    tensors |= {f"{_COLUMN}{name}": values for name, values in histories.columns.items()}
    with write_bundle(path, card=parts.card) as writer:
        writer.json("model", {"builder": builder_name(builder), "spec": parts.model.spec.model_dump(mode="json")})
        writer.tensors("weights", weights_of(parts.model))
        values, vocabularies = parts.preprocessor.to_parts()
        writer.json("preprocessor", values)
        for name, table in vocabularies.items():
            writer.frame(name, table)
        writer.frame("catalogue", parts.catalogue.frame)
        writer.tensors("item_vectors", {"vectors": parts.item_vectors_ND})
        writer.frame("users", parts.users.table.frame)
        writer.tensors("histories", tensors)
        if disliked is not None:
            writer.tensors("disliked", {"offsets": disliked.offsets, "item_rows": disliked.values})
        defaults = cast(JSON, dict(parts.defaults.values))
        writer.json("requests", {"time_column": parts.defaults.time_column, "defaults": defaults})


def read_parts(bundle: Bundle, *, builder: ModelBuilder) -> RecommenderParts:
    """Read the parts of an opened bundle, each of which is as it was written, and make sure that they fit each other.

    Args:
        bundle: Opened, and so verified.
        builder: What built the model.

    Raises:
        BundleError: If another builder did.
        ConfigError: If parts do not fit each other; all faults that can be told at once.
        DataError: If a table is not one of ids, or a vector is not finite.
    """
    preprocessor = Preprocessor.from_parts(bundle.json("preprocessor"), bundle.frame)
    spec = parse_config(ModelSpec, _spec_json(bundle, builder), source="model")
    check_columns(spec.query, preprocessor.query_columns, name="query")
    check_columns(spec.candidate, preprocessor.candidate_columns, name="candidate")
    model = builder(spec, seed=0)
    load_state(model, bundle.tensors("weights"))
    catalogue = IdTable.from_table(bundle.frame("catalogue"), preprocessor.spec.item_column, noun="item")
    users = IdTable.from_table(bundle.frame("users"), preprocessor.spec.user_column, noun="user")
    histories = bundle.tensors("histories")
    disliked = bundle.tensors("disliked") if "disliked" in bundle.names else None
    requests = cast("dict[str, Any]", bundle.json("requests"))
    vectors_ND = bundle.tensors("item_vectors").get("vectors", torch.empty(0, 0))
    faults = _ragged_faults("histories", histories, len(users), len(catalogue))
    if disliked is not None:
        faults += _ragged_faults("disliked", disliked, len(users), len(catalogue))
    if not faults and len(histories.get("first", ())) != len(histories["item_rows"]):
        faults.append("histories do not say of each item whether it is the first time")
    if not faults:
        faults += _event_faults(histories, spec, preprocessor, requests)
    if vectors_ND.shape != (len(catalogue), model.embedding_dim):
        faults.append(f"item_vectors are {list(vectors_ND.shape)} for {len(catalogue)} items of width {model.embedding_dim}")
    read = {
        column for feature in (*preprocessor.spec.user, *preprocessor.spec.context) for column in feature.config.source_columns
    }
    faults += [f"users have no column {name!r}, which the query reads" for name in sorted(read - set(users.frame.columns))]
    if not isinstance(requests, dict) or set(requests) != {"time_column", "defaults"}:
        faults.append("requests must hold time_column and defaults")
    if faults:
        raise ConfigError(faults)
    return RecommenderParts(
        model=model,
        preprocessor=preprocessor,
        catalogue=catalogue,
        item_vectors_ND=vectors_ND,
        users=StoredUsers(
            users,
            Histories(
                histories["offsets"],
                histories["item_rows"],
                histories["first"],
                histories.get("times"),
                {name.removeprefix(_COLUMN): rows for name, rows in histories.items() if name.startswith(_COLUMN)},
            ),
            None if disliked is None else Ragged(disliked["item_rows"], disliked["offsets"]),
        ),
        defaults=RequestDefaults(requests["time_column"], requests["defaults"]),
        card=bundle.card,
    )


def _spec_json(bundle: Bundle, builder: ModelBuilder) -> JSON:
    """The model's spec, if ``builder`` is what built the model.

    Raises:
        BundleError: If another one did.
    """
    model = bundle.json("model")
    if not isinstance(model, dict) or set(model) != {"builder", "spec"}:
        raise ConfigError("model must hold builder and spec")
    if model["builder"] != builder_name(builder):
        raise BundleError(
            f"{bundle.path}: the model was built by {model['builder']}, and {builder_name(builder)} might give it "
            "other towers; load with builder= the function that it was trained with"
        )
    return model["spec"]


def _ragged_faults(part: str, tensors: Mapping[str, Tensor], num_users: int, num_items: int) -> list[str]:
    """What keeps a part from being rows of the catalogue for each user."""
    if not {"offsets", "item_rows"} <= tensors.keys():
        return [f"{part} must hold offsets and item_rows"]
    offsets, rows = tensors["offsets"], tensors["item_rows"]
    if len(offsets) != num_users + 1:
        return [f"{part} are of {len(offsets) - 1} users, and there are {num_users}"]
    if int(offsets[0]) != 0 or int(offsets[-1]) != len(rows) or bool((offsets.diff() < 0).any()):
        return [f"{part}: the offsets must rise from 0 to {len(rows)}"]
    if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < num_items:
        return [f"{part} hold items outside of the catalogue of {num_items}"]
    return []


def _event_faults(histories: Mapping[str, Tensor], spec: ModelSpec, preprocessor: Preprocessor, requests: object) -> list[str]:
    """What the model reads of events and the histories do not hold."""
    total, faults = len(histories["item_rows"]), []
    times = histories.get("times")
    if any(entry.reads_times for entry in spec.query.inputs) and times is None:
        faults.append("histories have no times, which the query reads")
    if times is not None and (len(times) != total or not bool(times.isfinite().all())):
        faults.append("histories must have a finite time for each item")
    for fitted in preprocessor.spec.history:
        for column in fitted.event_columns:
            name = event_column(fitted.config.name, column.name)
            rows = histories.get(f"{_COLUMN}{name}")
            if rows is None:
                faults.append(f"histories have no column {name!r}, which the query reads")
            elif len(rows) != total or (total and not 0 <= int(rows.min()) <= int(rows.max()) < column.vocabulary_size):
                faults.append(f"histories: {name!r} must hold a row below {column.vocabulary_size} for each item")
    asked = any(entry.request_time for entry in spec.query.inputs)
    if asked and isinstance(requests, dict) and requests.get("time_column") is None:
        faults.append("requests have no time_column, and the query reads when they are")
    return faults


def bundle_folder(path: str | Path) -> Path:
    """The bundle at a path, or in the run folder at a path.

    Raises:
        BundleError: If there is neither.
    """
    folder = Path(path)
    if (folder / "bundle").is_dir():
        return folder / "bundle"
    if not folder.exists():
        raise BundleError(
            f"no bundle or run folder at {folder}; train one first: twotower train RECIPE --run-dir {quote(str(folder))}"
        )
    if (folder / "recipe.json").exists() and not (folder / "manifest.json").exists():
        raise BundleError(
            f"the run in {folder} has not finished; go on with: twotower train RECIPE --run-dir {quote(str(folder))} --resume"
        )
    return folder
