"""``twotower publish``: a version is added and chosen, another one is chosen, or it is taken back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.recommender.conftest import world_of

from twotower.bundle import current_version, open_bundle, version_folder, versions, write_bundle
from twotower.index import ExactIndex, HNSWIndex
from twotower.recommender import IndexOptions, Recommender, build_index

Call = Callable[..., tuple[int, str, str]]


def told(call: Call, *arguments: str | Path) -> Any:
    """The line of JSON of a command that succeeds."""
    status, out, err = call("publish", *arguments, "--json")
    assert (status, err, out.count("\n")) == (0, "", 1)
    return json.loads(out)


@pytest.fixture
def other(finished: Path, tmp_path: Path) -> Path:
    """A run that has another card."""
    Recommender.load(finished).save(tmp_path / "other" / "bundle", card={"name": "other"})
    return tmp_path / "other"


def test_a_run_is_published_chosen_and_taken_back(call: Call, finished: Path, other: Path, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    first = told(call, finished, "--to", folder)
    name = first["version"]
    assert first == {"version": name, "current": name, "versions": [name]}
    assert open_bundle(version_folder(folder, name) / "bundle").card == open_bundle(finished / "bundle").card
    assert told(call, finished, "--to", folder) == first
    second = told(call, other, "--to", folder)
    assert second["version"] == second["current"] != name
    assert second["versions"] == versions(folder) == sorted([name, second["version"]])
    assert told(call, "--to", folder, "--rollback") == second | {"version": name, "current": name}
    assert current_version(folder) == (name, ())
    assert told(call, "--to", folder, "--version", second["version"]) == second
    assert current_version(folder).version == second["version"]
    assert Recommender.load(version_folder(folder, name)).card == Recommender.load(finished).card


def test_what_is_said(call: Call, finished: Path, other: Path, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    status, out, err = call("publish", finished, "--to", folder, "--no-activate")
    name = versions(folder)[0]
    assert (status, err) == (0, "")
    assert out == (
        f"{name} is published in {folder}\n"
        f"no version answers yet; choose one: twotower publish --to {folder} --version {name}\n"
    )
    assert call("publish", "--to", folder, "--version", name)[1] == f"{name} is chosen in {folder}\n{name} answers\n"
    status, out, _ = call("publish", other, "--to", folder, "--no-activate")
    added = next(version for version in versions(folder) if version != name)
    assert out == f"{added} is published in {folder}\n{name} answers\n"
    assert call("publish", other, "--to", folder)[1] == f"{added} is published in {folder}\n{added} answers\n"
    assert call("publish", "--to", folder, "--rollback")[1] == f"{name} is chosen in {folder}\n{name} answers\n"


def test_a_bundle_is_as_good_as_its_run(call: Call, finished: Path, tmp_path: Path) -> None:
    name = told(call, finished, "--to", tmp_path / "published")["version"]
    assert told(call, finished / "bundle", "--to", tmp_path / "published")["version"] == name


def test_an_index_beside_the_run_comes_along(call: Call, tmp_path: Path) -> None:
    run, folder = tmp_path / "run", tmp_path / "published"
    world_of(num_users=60, num_items=400).recommender.save(run / "bundle")
    plain = told(call, run, "--to", folder)["version"]
    build_index(run, IndexOptions(recall=0.8, k=5, queries=40))
    with_it = told(call, run, "--to", folder)["version"]
    assert with_it != plain
    assert isinstance(Recommender.load(version_folder(folder, with_it)).index, HNSWIndex)
    assert isinstance(Recommender.load(version_folder(folder, plain)).index, ExactIndex)


def test_a_broken_index_is_not_published(call: Call, finished: Path, tmp_path: Path) -> None:
    run, folder = tmp_path / "run", tmp_path / "published"
    shutil.copytree(finished / "bundle", run / "bundle")
    plain = told(call, run, "--to", folder)["version"]
    with write_bundle(run / "index", card={"config": {"kind": "none of ours"}}):
        pass
    status, out, err = call("publish", run, "--to", folder)
    assert (status, out) == (1, "")
    assert "an index of an unknown kind" in err
    assert versions(folder) == [plain]
    (run / "index" / "more").write_text("")
    assert call("publish", run, "--to", folder)[0] == 1
    assert versions(folder) == [plain]


@pytest.mark.parametrize("part", ["weights.safetensors", "catalogue.parquet", "manifest.json", "manifest.sha256", "model.json"])
def test_a_broken_run_is_not_published(call: Call, finished: Path, tmp_path: Path, part: str) -> None:
    run, folder = tmp_path / "run", tmp_path / "published"
    shutil.copytree(finished / "bundle", run / "bundle")
    name = told(call, run, "--to", folder)["version"]
    path = run / "bundle" / part
    data = path.read_bytes()
    for broken in (data[:-1] + bytes([data[-1] ^ 1]), data[: len(data) // 2], None):
        path.unlink()
        if broken is not None:
            path.write_bytes(broken)
        status, out, err = call("publish", run, "--to", folder)
        assert (status, out) == (1, "")
        assert err.startswith("twotower: ")
        assert "Traceback" not in err
        assert current_version(folder).version == versions(folder)[0] == name
        path.write_bytes(data)


def test_a_bundle_of_something_else_is_not_published(call: Call, tmp_path: Path) -> None:
    with write_bundle(tmp_path / "bundle") as writer:
        writer.json("number", 1)
    status, out, err = call("publish", tmp_path / "bundle", "--to", tmp_path / "published")
    assert (status, out) == (1, "")
    assert "has no part" in err
    assert not (tmp_path / "published").exists()


@pytest.mark.parametrize(
    ("arguments", "expected", "words"),
    [
        ((), 2, "name the folder of versions: --to DIR"),
        (("RUN",), 2, "name the folder of versions: --to DIR"),
        (("--to", "DIR"), 2, "give one of RUN, --version and --rollback; came none"),
        (("RUN", "--to", "DIR", "--rollback"), 2, "give one of RUN, --version and --rollback; came RUN and --rollback"),
        (("--to", "DIR", "--rollback", "--version", "a"), 2, "came --version and --rollback"),
        (("RUN", "--to", "DIR", "--version", "a", "--rollback"), 2, "came RUN and --version and --rollback"),
        (("--to", "DIR", "--version", ""), 2, "came none"),
        (("--to", "DIR", "--version", "a"), 1, "no version 'a'"),
        (("--to", "DIR", "--version", "../../run"), 1, "no version '../../run'"),
        (("--to", "DIR", "--rollback"), 1, "publish a run first: twotower publish RUN --to"),
        (("--to", "DIR", "--version", "a", "--no-activate"), 2, "--no-activate goes with RUN"),
        (("--to", "DIR", "--rollback", "--no-activate"), 2, "--no-activate goes with RUN"),
        (("nowhere", "--to", "DIR"), 1, "no bundle or run folder at nowhere"),
        (("RUN", "--to", "PHOTOS"), 1, "is a folder with other files"),
        (("RUN", "--to", "DIR", "--force"), 2, "No such option"),
    ],
)
def test_what_can_not_be_asked(
    call: Call, finished: Path, tmp_path: Path, arguments: tuple[str, ...], expected: int, words: str
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "holiday.jpg").write_text("")
    places = {"RUN": finished, "DIR": tmp_path / "published", "PHOTOS": photos}
    for options in ((), ("--json",)):
        status, out, err = call("publish", *(places.get(argument, argument) for argument in arguments), *options)
        assert (status, out) == (expected, "")
        assert words in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]
    assert [path.name for path in photos.iterdir()] == ["holiday.jpg"]
