"""A recommender as a bundle: what is written, and how it is read back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from twotower.bundle import JSON, open_bundle, write_bundle
from twotower.config import parse_config
from twotower.data import Histories, IdTable
from twotower.errors import BundleError, CorruptBundleError
from twotower.models import TwoTower, build, load_state, state_of
from twotower.preprocessing import Preprocessor, PreprocessorSpec
from twotower.recommender.recommender import Recommender
from twotower.recommender.requests import RequestDefaults
from twotower.recommender.stored_users import StoredUsers
from twotower.spec import ModelSpec

__all__ = ["bundle_folder", "load_recommender", "write_recommender"]


def write_recommender(path: Path, recommender: Recommender, *, card: Mapping[str, JSON]) -> None:
    """Write a recommender as a bundle, atomically: the folder is the old one, or the new one, whole.

    Args:
        path: Replaced when it is a bundle.
        recommender: What to write.
        card: What the bundle says of itself: recipe, metrics, versions.
    """
    histories = recommender.users.item_histories
    tensors = {"offsets": histories.offsets, "item_rows": histories.item_rows, "first": histories.first}
    if histories.times is not None:
        tensors["times"] = histories.times
    with write_bundle(path, card=card) as writer:
        writer.json("model", recommender.model.spec.model_dump(mode="json"))
        writer.tensors("weights", {name: tensor.cpu() for name, tensor in state_of(recommender.model).items()})
        writer.json("preprocessor", recommender.preprocessor.spec.model_dump(mode="json"))
        writer.frame("catalogue", recommender.catalogue.frame)
        writer.tensors("item_vectors", {"vectors": recommender.item_vectors_ND})
        writer.frame("users", recommender.users.table.frame)
        writer.tensors("histories", tensors)
        writer.json(
            "requests",
            {"time_column": recommender.defaults.time_column, "defaults": cast(JSON, dict(recommender.defaults.values))},
        )


def load_recommender(path: str | Path) -> Recommender:
    """Read a bundle back; every part is verified against its checksum before anything is used.

    Raises:
        BundleError: If it is not a bundle, is damaged, newer than this library, or its parts do not fit each other.
    """
    bundle = open_bundle(bundle_folder(path))
    preprocessor = Preprocessor(parse_config(PreprocessorSpec, bundle.json("preprocessor"), source=f"{path}: preprocessor"))
    spec = parse_config(ModelSpec, bundle.json("model"), source=f"{path}: model")
    model: TwoTower = build(spec, seed=0)
    load_state(model, bundle.tensors("weights"))
    catalogue = IdTable.from_table(bundle.frame("catalogue"), preprocessor.spec.item_column, noun="item")
    users = IdTable.from_table(bundle.frame("users"), preprocessor.spec.user_column, noun="user")
    parts = bundle.tensors("histories")
    requests = cast("dict[str, Any]", bundle.json("requests"))
    vectors_ND: Tensor = bundle.tensors("item_vectors")["vectors"]
    faults = []
    if vectors_ND.shape != (len(catalogue), spec.candidate.output_width):
        faults.append(
            f"{list(vectors_ND.shape)} item vectors for {len(catalogue)} items of width {spec.candidate.output_width}"
        )
    if len(parts["offsets"]) != len(users) + 1:
        faults.append(f"histories of {len(parts['offsets']) - 1} users for {len(users)} users")
    if len(parts["item_rows"]) and not 0 <= int(parts["item_rows"].min()) <= int(parts["item_rows"].max()) < len(catalogue):
        faults.append("histories with items outside of the catalogue")
    if faults:
        raise CorruptBundleError(f"{path}: the parts do not fit each other: {'; '.join(faults)}")
    histories = Histories(parts["offsets"], parts["item_rows"], parts["first"], parts.get("times"))
    return Recommender(
        model=model,
        preprocessor=preprocessor,
        catalogue=catalogue,
        item_vectors_ND=vectors_ND,
        users=StoredUsers(users, histories),
        defaults=RequestDefaults(requests["time_column"], requests["defaults"]),
        card=bundle.card,
    )


def bundle_folder(path: str | Path) -> Path:
    """The bundle at a path, or in the run folder at a path.

    Raises:
        BundleError: If there is neither.
    """
    folder = Path(path)
    if (folder / "bundle").is_dir():
        return folder / "bundle"
    if not folder.exists():
        raise BundleError(f"no bundle or run folder at {folder}; train one first: twotower train RECIPE --run-dir {folder}")
    if (folder / "recipe.json").exists() and not (folder / "manifest.json").exists():
        raise BundleError(
            f"the run in {folder} has not finished; go on with: twotower train RECIPE --run-dir {folder} --resume"
        )
    return folder
