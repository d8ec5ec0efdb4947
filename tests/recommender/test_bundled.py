"""A recommender on disk: the same answers in another process, and nothing that is damaged or does not fit."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partialmethod
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from twotower.bundle import open_bundle, write_bundle
from twotower.errors import BundleError, CorruptBundleError
from twotower.preprocessing import Preprocessor
from twotower.recommender import Recommender, bundle_folder

ASK = """
import sys
from twotower.recommender import Recommender
recommender = Recommender.load(sys.argv[1])
answer = recommender.recommend(["user-03", "nobody"], histories=[None, ["Item 02"]], features=[{}, {"age": 50}], k=40)
answer.frame.write_parquet(sys.argv[2])
recommender.similar_items(["Item 03"], k=40).frame.write_parquet(sys.argv[3])
"""


@pytest.fixture(scope="module")
def disliking(make_world: Callable[..., Any]) -> Any:
    return make_world(positives="rating >= 4")


@pytest.fixture(scope="module")
def bundle(disliking: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "bundle"
    disliking.recommender.save(path, card={"recall@10": 0.25})
    return path


def test_a_fresh_process_gives_the_same_answers(disliking: Any, bundle: Path, tmp_path: Path) -> None:
    files = [tmp_path / "answer.parquet", tmp_path / "similar.parquet"]
    subprocess.run([sys.executable, "-c", ASK, str(bundle), *map(str, files)], check=True, timeout=300)
    recommender: Recommender = disliking.recommender
    answer = recommender.recommend(["user-03", "nobody"], histories=[None, ["Item 02"]], features=[{}, {"age": 50}], k=40)
    assert pl.read_parquet(files[0]).equals(answer.frame)
    assert pl.read_parquet(files[1]).equals(recommender.similar_items(["Item 03"], k=40).frame)


def test_every_part_comes_back(disliking: Any, bundle: Path) -> None:
    ours: Recommender = disliking.recommender
    read = Recommender.load(bundle)
    assert read.card == {"recall@10": 0.25}
    assert torch.equal(read.item_vectors_ND, ours.item_vectors_ND)
    assert read.catalogue.frame.equals(ours.catalogue.frame)
    assert read.users.table.frame.equals(ours.users.table.frame)
    assert read.defaults == ours.defaults
    for name in ("offsets", "item_rows", "first", "times"):
        assert torch.equal(getattr(read.users.item_histories, name), getattr(ours.users.item_histories, name))
    assert read.users.disliked is not None
    assert ours.users.disliked is not None
    assert torch.equal(read.users.disliked.values, ours.users.disliked.values)
    assert torch.equal(read.users.disliked.offsets, ours.users.disliked.offsets)
    assert read.preprocessor.spec == ours.preprocessor.spec
    assert not read.model.training


def test_large_vocabularies_are_tables_of_the_bundle(disliking: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Preprocessor, "to_parts", partialmethod(Preprocessor.to_parts, large=10))
    ours: Recommender = disliking.recommender
    ours.save(tmp_path / "bundle")
    bundle = open_bundle(tmp_path / "bundle")
    tables = {name: bundle.frame(name)["id"].to_list() for name in bundle.names if name.startswith("vocabulary")}
    users = sorted(disliking.users["user"])
    assert len(tables) == 2  # users; items, which the history and the candidate share
    assert any(set(ids) <= set(users) for ids in tables.values())
    assert "user-03" not in (tmp_path / "bundle" / "preprocessor.json").read_text()
    read = Recommender.load(tmp_path / "bundle")
    assert read.preprocessor.spec == ours.preprocessor.spec
    assert read.recommend(["user-03"]).frame.equals(ours.recommend(["user-03"]).frame)


def test_without_dislikes_and_times(world: Any, tmp_path: Path) -> None:
    world.recommender.save(tmp_path / "bundle", card={})
    read = Recommender.load(tmp_path / "bundle")
    assert read.users.disliked is None
    assert read.recommend(["user-03"]).frame.equals(world.recommender.recommend(["user-03"]).frame)


def test_one_changed_byte_in_any_part_is_refused(bundle: Path, tmp_path: Path) -> None:
    files = sorted(path.name for path in bundle.iterdir())
    assert {"weights.safetensors", "catalogue.parquet", "disliked.safetensors", "requests.json"} <= set(files)
    for name in files:
        copy = tmp_path / name
        shutil.copytree(bundle, copy)
        data = bytearray((copy / name).read_bytes())
        data[len(data) // 2] ^= 1
        (copy / name).write_bytes(data)
        with pytest.raises(BundleError):
            Recommender.load(copy)


Change = Callable[[Any], Any]


def rewritten(bundle: Path, target: Path, changes: dict[str, Change]) -> Path:
    """A bundle that is whole, with some of its parts changed (None leaves one out)."""
    source = open_bundle(bundle)
    with write_bundle(target) as writer:
        for name in source.names:
            kind = next(path.suffix for path in bundle.iterdir() if path.stem == name)
            read, write = {
                ".safetensors": (source.tensors, writer.tensors),
                ".json": (source.json, writer.json),
                ".parquet": (source.frame, writer.frame),
            }[kind]
            value = changes.get(name, lambda part: part)(read(name))
            if value is not None:
                write(name, value)  # type: ignore[operator]
    return target


def with_tensor(name: str, change: Change) -> Change:
    return lambda tensors: {**tensors, name: change(tensors[name])}


def decreasing(offsets: torch.Tensor) -> torch.Tensor:
    changed = offsets.clone()
    changed[1] = changed[-1]
    return changed


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("catalogue", lambda frame: frame.head(29), "items outside of the catalogue of 29"),
        ("catalogue", lambda frame: frame.drop("item"), "item"),
        ("item_vectors", with_tensor("vectors", lambda v: v[:, :7]), r"item_vectors are \[30, 7\] for 30 items of width 8"),
        ("item_vectors", with_tensor("vectors", lambda v: v * torch.nan), "vectors must be finite"),
        ("item_vectors", lambda tensors: {"other": tensors["vectors"]}, r"item_vectors are \[0, 0\]"),
        ("users", lambda frame: frame.head(20), "histories are of 25 users, and there are 20"),
        ("users", lambda frame: frame.drop("city"), "users have no column 'city', which the query reads"),
        ("histories", with_tensor("item_rows", lambda rows: rows + 30), "histories hold items outside of the catalogue of 30"),
        ("histories", with_tensor("item_rows", lambda rows: rows - 30), "histories hold items outside of the catalogue of 30"),
        ("histories", with_tensor("item_rows", lambda rows: rows[1:]), "histories: the offsets must rise from 0 to"),
        ("histories", with_tensor("offsets", decreasing), "histories: the offsets must rise from 0 to"),
        ("histories", with_tensor("first", lambda first: first[1:]), "whether it is the first time"),
        ("histories", lambda tensors: {"first": tensors["first"]}, "histories must hold offsets and item_rows"),
        ("disliked", with_tensor("offsets", lambda offsets: offsets[1:]), "disliked are of 24 users, and there are 25"),
        ("requests", lambda _: {"time_column": "at"}, "requests must hold time_column and defaults"),
        ("model", lambda model: {**model, "spec": {**model["spec"], "towers": 3}}, "towers: unknown key"),
        ("model", lambda model: model["spec"], "model must hold builder and spec"),
        ("preprocessor", lambda spec: {**spec, "candidate": spec["candidate"][1:]}, "candidate tower: no column 'item'"),
    ],
)
def test_parts_that_do_not_fit_each_other_are_refused(
    bundle: Path, tmp_path: Path, part: str, change: Change, message: str
) -> None:
    whole = rewritten(bundle, tmp_path / "whole", {})
    Recommender.load(whole)
    changed = rewritten(bundle, tmp_path / "changed", {part: change})
    with pytest.raises(CorruptBundleError, match=rf"(?s)changed: the parts do not fit each other: .*{message}"):
        Recommender.load(changed)


@pytest.mark.parametrize("part", ["weights", "model", "catalogue", "users", "histories", "requests"])
def test_a_part_that_was_left_out_is_refused(bundle: Path, tmp_path: Path, part: str) -> None:
    changed = rewritten(bundle, tmp_path / "changed", {part: lambda _: None})
    with pytest.raises(BundleError, match=part):
        Recommender.load(changed)


def test_weights_of_another_shape_are_refused(bundle: Path, tmp_path: Path) -> None:
    changed = rewritten(bundle, tmp_path / "changed", {"weights": lambda w: {name: tensor[:1] for name, tensor in w.items()}})
    with pytest.raises(BundleError, match="the weights do not fit the model"):
        Recommender.load(changed)


def test_the_bundle_of_a_run(bundle: Path, tmp_path: Path) -> None:
    assert bundle_folder(bundle) == bundle
    assert bundle_folder(str(bundle.parent)) == bundle
    assert Recommender.load(bundle.parent).card == {"recall@10": 0.25}
    with pytest.raises(BundleError, match=r"train one first: twotower train RECIPE --run-dir .*nowhere"):
        bundle_folder(tmp_path / "nowhere")
    (tmp_path / "recipe.json").write_text("{}")
    with pytest.raises(BundleError, match=r"has not finished; go on with: .* --resume"):
        bundle_folder(tmp_path)
