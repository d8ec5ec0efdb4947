"""Versions of a bundle in one folder: whole, chosen in one step, whoever writes and dies beside."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch

from twotower.bundle import (
    activate,
    current_version,
    is_published,
    open_bundle,
    publish,
    roll_back,
    version_folder,
    versions,
    write_bundle,
)
from twotower.errors import BundleError, CorruptBundleError


def bundle_at(path: Path, number: int, *, second: int = 0) -> Path:
    """A bundle that says ``number``, written at a second of 2026."""
    with write_bundle(path, card={"number": number}, created_at=datetime(2026, 1, 2, 3, 4, second, tzinfo=UTC)) as writer:
        writer.tensors("weights", {"x": torch.full((2000,), number)})
        writer.json("number", number)
    return path


def number_of(folder: Path, version: str, part: str = "bundle") -> Any:
    bundle = open_bundle(version_folder(folder, version) / part)
    assert bundle.json("number") == bundle.card["number"]
    assert set(bundle.tensors("weights")["x"].tolist()) == {bundle.card["number"]}
    return bundle.card["number"]


def listing(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, but the lock."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def test_publish_activate_roll_back(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "published"
    names = [publish(bundle_at(tmp_path / f"b{number}", number, second=9 - number), folder) for number in range(3)]
    assert [name[:17] for name in names] == ["20260102T030409Z-", "20260102T030408Z-", "20260102T030407Z-"]
    assert versions(folder) == names[::-1]  # the oldest first
    assert [number_of(folder, name) for name in names] == [0, 1, 2]
    assert not is_published(folder)
    for function in (current_version, roll_back):
        with pytest.raises(BundleError, match=r"can't be read: .*; publish a run first: twotower publish RUN --to"):
            function(folder)
    assert activate(folder, names[0]) == (names[0], ())
    assert is_published(folder)
    assert activate(folder, names[1]) == current_version(folder) == (names[1], (names[0],))
    assert activate(folder, names[1]) == (names[1], (names[0],))  # it was so already
    assert activate(folder, names[2]).previous == (names[1], names[0])
    assert roll_back(folder) == current_version(folder) == (names[1], (names[0],))
    assert activate(folder, names[2]).previous == (names[1], names[0])
    assert [roll_back(folder).version for _ in range(2)] == [names[1], names[0]]
    with pytest.raises(BundleError, match=f"no version was current before {names[0]}; publish another one"):
        roll_back(folder)
    assert current_version(folder) == (names[0], ())


def test_the_same_again_is_the_same_version(tmp_path: Path) -> None:
    folder, source = tmp_path / "published", bundle_at(tmp_path / "b", 1)
    name = publish(source, folder)
    activate(folder, name)
    before = listing(folder)
    inode = version_folder(folder, name).stat().st_ino
    for place in (source, str(source), source):
        assert publish(place, str(folder)) == name
        assert listing(folder) == before
        assert version_folder(folder, name).stat().st_ino == inode  # whoever reads it is not disturbed
    copied = bundle_at(tmp_path / "elsewhere", 1)
    assert publish(copied, folder) == name
    other = publish(bundle_at(tmp_path / "b", 2), folder)
    assert other != name
    assert versions(folder) == sorted([name, other])
    assert current_version(folder).version == name


def test_an_index_is_part_of_the_version(tmp_path: Path) -> None:
    folder, source = tmp_path / "published", bundle_at(tmp_path / "b", 1)
    index = bundle_at(tmp_path / "index", 70)
    without, with_it = publish(source, folder), publish(source, folder, index=index)
    other = publish(source, folder, index=bundle_at(tmp_path / "index", 71))
    assert len({without, with_it, other}) == 3
    assert [number_of(folder, name, "index") for name in (with_it, other)] == [70, 71]
    assert sorted(path.name for path in version_folder(folder, with_it).iterdir()) == ["bundle", "index"]
    assert sorted(path.name for path in version_folder(folder, without).iterdir()) == ["bundle"]
    assert publish(source, folder, index=tmp_path / "index") == other
    before = listing(folder)
    for wrong in (tmp_path / "nothing", tmp_path):
        with pytest.raises(BundleError):
            publish(source, folder, index=wrong)
    assert listing(folder) == before


def test_what_is_no_bundle_is_not_published(tmp_path: Path) -> None:
    folder, source = tmp_path / "published", bundle_at(tmp_path / "b", 1)
    for wrong in (tmp_path / "nothing", tmp_path, source / "number.json"):
        with pytest.raises(BundleError):
            publish(wrong, folder)
    for path in sorted(source.iterdir()):
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(BundleError, match=path.stem):
            publish(source, folder)
        path.write_bytes(data)
    (source / "more").write_text("")
    with pytest.raises(CorruptBundleError, match="not one of the bundle's files"):
        publish(source, folder)
    assert not folder.exists()


def test_a_version_whose_bytes_changed_is_refused_and_mended_by_publishing_again(tmp_path: Path) -> None:
    folder, source = tmp_path / "published", bundle_at(tmp_path / "b", 1)
    name = publish(source, folder)
    activate(folder, name)
    whole = listing(folder)
    for path in sorted((version_folder(folder, name) / "bundle").iterdir()):
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(BundleError, match=path.stem):
            open_bundle(version_folder(folder, name) / "bundle")
        assert publish(source, folder) == name
        assert listing(folder) == whole
    path = version_folder(folder, name) / "bundle" / "number.json"
    path.unlink()
    assert publish(source, folder) == name
    assert listing(folder) == whole


DAMAGED = [
    b"", b"{", b"[]", b"null", b"\xff", b'"a"', b"{}", b'{"version": "a"}', b'{"version": 1, "previous": []}',
    b'{"version": "a", "previous": "b"}', b'{"version": "a", "previous": [1]}', b'{"version": "a", "previous": [], "x": 1}',
]  # fmt: skip


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_pointer_is_told_and_can_be_set_anew(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "published"
    name = publish(bundle_at(tmp_path / "b", 1), folder)
    activate(folder, name)
    (folder / "current.json").write_bytes(content)
    for function in (current_version, roll_back):
        with pytest.raises(CorruptBundleError, match=r"current\.json"):
            function(folder)
    assert publish(tmp_path / "b", folder) == name  # what is there is not lost
    assert activate(folder, name) == current_version(folder) == (name, ())


def test_a_pointer_to_what_is_not_there(tmp_path: Path) -> None:
    folder = tmp_path / "published"
    name = publish(bundle_at(tmp_path / "b", 1), folder)
    for gone in ("20260102T030400Z-00000000", "..", "../../b", ".", ""):
        (folder / "current.json").write_text(json.dumps({"version": gone, "previous": [gone]}))
        assert current_version(folder).version == gone
        with pytest.raises(BundleError, match="no version"):
            version_folder(folder, current_version(folder).version)
        with pytest.raises(BundleError, match="no version"):
            roll_back(folder)
        assert activate(folder, name).version == name


@pytest.mark.parametrize(
    "version", ["", ".", "..", "/", "../versions", "../../secret", "/etc", "a/b", "a\0b", "20260102", "versions", ".lock", "*"]
)
def test_a_name_is_never_a_path(tmp_path: Path, version: str) -> None:
    folder = tmp_path / "published"
    name = publish(bundle_at(tmp_path / "b", 1), folder)
    bundle_at(tmp_path / "secret", 2)
    for wrong in (version, f"{name}/", f"./{name}", f"{name}/bundle", name.lower(), f" {name}"):
        for function in (version_folder, activate):
            with pytest.raises(BundleError, match="no version"):
                function(folder, wrong)
    assert not is_published(folder)
    assert version_folder(folder, name).is_dir()


def test_what_is_no_version_is_not_listed(tmp_path: Path) -> None:
    folder = tmp_path / "published"
    name = publish(bundle_at(tmp_path / "b", 1), folder)
    (folder / "versions" / "notes.txt").write_text("mine")
    (folder / "versions" / ".hidden").mkdir()
    assert versions(folder) == [name]
    with pytest.raises(BundleError, match=r"no version 'notes\.txt'"):
        activate(folder, "notes.txt")
    assert versions(tmp_path / "nowhere") == []


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    source = bundle_at(tmp_path / "b", 1)
    foreign = tmp_path / "photos"
    foreign.mkdir()
    (foreign / "holiday.jpg").write_bytes(b"1")
    with pytest.raises(
        BundleError, match=r"is a folder with other files \(holiday\.jpg\), and is left alone; publish elsewhere"
    ):
        publish(source, foreign)
    with pytest.raises(BundleError, match="is a folder with other files"):
        publish(source, source)
    assert [path.name for path in foreign.iterdir()] == ["holiday.jpg"]
    assert open_bundle(source).card == {"number": 1}
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="can't be written"):
        publish(source, tmp_path / "file")
    # what the service keeps beside the versions is not foreign
    served = tmp_path / "served"
    served.mkdir()
    for name in ("live.sqlite", "live.sqlite-wal", ".DS_Store"):
        (served / name).write_text("")
    assert versions(served) == []
    assert publish(source, served) in versions(served)


def test_choosing_in_a_folder_that_is_not_there_makes_none(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no version 'a'"):
        activate(tmp_path / "typo", "a")
    with pytest.raises(BundleError, match="publish a run first"):
        roll_back(tmp_path / "typo")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_can_not_be_written(tmp_path: Path) -> None:
    source = bundle_at(tmp_path / "b", 1)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(BundleError, match="can't be written"):
        publish(source, closed)


def test_a_source_that_changes_while_it_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    folder, source = tmp_path / "published", bundle_at(tmp_path / "b", 1)
    copytree = shutil.copytree

    def late(path: Path, target: Path) -> Any:
        bundle_at(tmp_path / "b", 2)  # training has finished anew: a whole bundle, but another one than its name says
        return copytree(path, target)

    monkeypatch.setattr(shutil, "copytree", late)
    with pytest.raises(BundleError, match="changed while it was copied"):
        publish(source, folder)
    assert versions(folder) == []
    monkeypatch.undo()
    assert number_of(folder, publish(source, folder)) == 2


WRITER = """
import sys
from pathlib import Path
from twotower.bundle import activate, open_bundle, publish, version_folder
folder, shared, *sources = map(Path, sys.argv[1:])
for source in sources:
    publish(shared, folder)
    name = publish(source, folder)
    activate(folder, name)
    open_bundle(version_folder(folder, name) / "bundle")
"""


def test_several_processes_publish_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "published"
    sources = [bundle_at(tmp_path / f"b{number}", number, second=number) for number in range(46)]
    with contextlib.ExitStack() as stack:
        writers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", WRITER, str(folder), *map(str, [sources[0], *sources[1 + number :: 3]])],
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            for number in range(3)
        ]
        seen = set()
        while any(writer.poll() is None for writer in writers):
            for name in versions(folder)[-3:]:  # what is listed is whole, at every moment
                number_of(folder, name)
            if is_published(folder):
                seen.add(number_of(folder, current_version(folder).version))
        for writer in writers:
            assert (writer.communicate()[1], writer.returncode) == ("", 0)
    assert [number_of(folder, name) for name in versions(folder)] == list(range(46))
    assert len(seen) > 1
    current = current_version(folder)
    # each was chosen once, and none of them forgot that another was chosen in between
    assert sorted([current.version, *current.previous]) == versions(folder)[1:]
    assert sorted(path.name for path in (folder / "versions").iterdir()) == versions(folder)


# The parent of the writers does nothing beside, so that they start from a process without threads at work.
KILLED = """
import json, os, random, signal, sys, time
from pathlib import Path
from twotower.bundle import activate, current_version, open_bundle, publish, version_folder, versions

folder, sources, kills = Path(sys.argv[1]), [Path(path) for path in sys.argv[3:]], int(sys.argv[2])
dice = random.Random(3)
began = time.monotonic()
base = publish(sources[0], folder)
activate(folder, base)
pace = min(max(0.01, time.monotonic() - began), 0.5)  # how long it takes, on a busy machine too
left = 0
for kill in range(kills):
    for name in versions(folder):
        if name not in (base, current_version(folder).version) and dice.random() < 0.7:
            (folder / "versions" / name).rename(folder.parent / f"{kill}-{name}")
    child = os.fork()
    if child == 0:
        while True:
            for source in sources:
                activate(folder, publish(source, folder))
    time.sleep(dice.uniform(0.0, 6 * pace))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    for name in versions(folder):
        bundle = open_bundle(version_folder(folder, name) / "bundle")
        assert bundle.json("number") == bundle.card["number"], name
    assert current_version(folder).version in versions(folder)
    left += sum(path.name.startswith(".") for path in (folder / "versions").iterdir())
    assert publish(sources[0], folder) == base
    assert sorted(path.name for path in (folder / "versions").iterdir()) == versions(folder)  # the next one tidies up
print(json.dumps({"left": left, "versions": len(versions(folder))}))
"""


def test_a_publisher_that_is_killed_leaves_nothing_half_written(tmp_path: Path) -> None:
    sources = [bundle_at(tmp_path / f"b{number}", number, second=number) for number in range(20)]
    command = [sys.executable, "-c", KILLED, str(tmp_path / "published"), "40", *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["left"] > 0, "some were killed in the middle"
    assert told["versions"] > 1
