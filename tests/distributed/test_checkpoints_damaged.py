"""Checkpoints that are not whole: refused, with a line that says so, and the one before is used."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.distributed.checkpoint_state import blank, differing, full, state_of
from tests.distributed.in_ranks import in_ranks

from twotower.distributed import ALONE, Checkpoints, Ranks
from twotower.errors import CheckpointError

FILES = ["commit", "rank-00000.safetensors", "rank-00001.safetensors", "tensors.json", "values.json"]


def _save_three(ranks: Ranks, folder: Path) -> None:
    with Checkpoints(folder, ranks, fingerprint="f") as checkpoints:
        for seed in (1, 2, 3):
            checkpoints.save(state_of(full(seed), ranks, {"seed": seed}), step=seed * 10)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three checkpoints by two ranks."""
    folder = tmp_path_factory.mktemp("checkpoints")
    in_ranks(_save_three, 2, folder)
    assert sorted(path.name for path in (folder / "last" / "00000003").iterdir()) == FILES
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    shutil.copytree(saved, tmp_path / "run")
    return tmp_path / "run"


def _flip(place: float) -> Callable[[Path], None]:
    def flip(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[min(int(place * len(data)), len(data) - 1)] ^= 1
        path.write_bytes(data)

    return flip


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _unread(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "first bit": (_flip(0), "has changed since it was written: the checksum does not match"),
    "middle bit": (_flip(0.5), "has changed since it was written: the checksum does not match"),
    "last bit": (_flip(1), "has changed since it was written: the checksum does not match"),
    "truncated": (_truncate, "must have"),
    "lengthened": (_lengthen, "must have"),
    "empty": (_empty, "must have"),
    "deleted": (Path.unlink, "is missing"),
    "a folder": (_unread, ""),
}


def _loaded(folder: Path) -> tuple[int, list[str]]:
    """Which of the three is loaded, whose every bit was compared, and what is said."""
    state = state_of(blank(), ALONE)
    with Checkpoints(folder, fingerprint="f") as checkpoints:
        loaded = checkpoints.load(state)
    assert loaded is not None
    seed = loaded.values["seed"]
    assert loaded.step == seed * 10
    assert differing(state, state_of(full(seed), ALONE)) == []
    return seed, checkpoints.refused


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("name", FILES)
def test_damage_to_any_file_is_seen(folder: Path, name: str, kind: str) -> None:
    damage, why = DAMAGE[kind]
    last = folder / "last"
    damage(last / "00000003" / name)
    seed, (line,) = _loaded(folder)
    assert seed == 2
    assert line.endswith(f"; {last / '00000002'} (step 20) is used instead")
    if name != "commit":
        assert line.startswith(f"{last / '00000003'} is refused: its file {name} {why}")
    elif kind == "deleted":
        assert line.startswith(f"{last / '00000003'} was never finished (it has no commit file) and is passed over; ")
    else:
        assert line.startswith(f"{last / '00000003'} is refused: its file commit ")


def test_the_newest_that_is_whole_is_used(folder: Path) -> None:
    assert _loaded(folder) == (3, [])
    _truncate(folder / "last" / "00000003" / "rank-00001.safetensors")
    _empty(folder / "last" / "00000002" / "commit")
    seed, lines = _loaded(folder)
    assert seed == 1
    assert [line.split(" ")[0][-1] for line in lines] == ["3", "2"]
    assert all(line.endswith("00000001 (step 10) is used instead") for line in lines)


def test_where_none_is_whole_that_is_an_error(folder: Path) -> None:
    for number in (1, 2, 3):
        _truncate(folder / "last" / f"0000000{number}" / "values.json")
    state = state_of(blank(), ALONE)
    with Checkpoints(folder, fingerprint="f") as checkpoints:
        with pytest.raises(CheckpointError) as caught:
            checkpoints.load(state)
        assert "last: none of its checkpoints is whole (00000003: its file values.json must have" in str(caught.value)
        assert "remove the folder, or train without --resume, to start over" in str(caught.value)
        assert len(checkpoints.refused) == 3
        assert checkpoints.refused[0].endswith("; there is none before it")
        assert differing(state, state_of(blank(), ALONE)) == []


def test_only_unfinished_ones_are_a_start(folder: Path) -> None:
    for number in (1, 2, 3):
        (folder / "last" / f"0000000{number}" / "commit").unlink()
    with Checkpoints(folder, fingerprint="f") as checkpoints:
        assert checkpoints.load(state_of(blank(), ALONE)) is None
        assert len(checkpoints.refused) == 3
        assert (folder / "last" / "00000003").exists()  # who only reads removes nothing
        checkpoints.save(state_of(full(4), ALONE), step=40)
        checkpoints.wait()
    assert [path.name for path in (folder / "last").iterdir()] == ["00000004"]


def test_damaged_ones_do_not_count_among_those_that_are_kept(folder: Path) -> None:
    _truncate(folder / "last" / "00000003" / "values.json")
    with Checkpoints(folder, fingerprint="f", keep=2) as checkpoints:
        assert checkpoints.load(state_of(blank(), ALONE)) is not None
        checkpoints.save(state_of(full(4), ALONE), step=40)
        checkpoints.wait()
        assert sorted(path.name for path in (folder / "last").iterdir()) == ["00000002", "00000004"]
        assert checkpoints.load(state_of(blank(), ALONE)) is not None
        assert checkpoints.refused == []


def test_a_newer_format_is_no_damage(folder: Path) -> None:
    import hashlib

    path = folder / "last" / "00000003" / "commit"
    said = json.loads(path.read_text().partition("\n")[2])
    body = json.dumps(said | {"format": 99})
    path.write_text(f"{hashlib.sha256(body.encode()).hexdigest()}\n{body}")
    with (
        Checkpoints(folder, fingerprint="f") as checkpoints,
        pytest.raises(
            CheckpointError, match="00000003: this checkpoint is of format 99; this library reads up to 1: use a newer one"
        ),
    ):
        checkpoints.load(state_of(blank(), ALONE))


def _load_in_ranks(ranks: Ranks, folder: Path) -> dict[str, Any]:
    with Checkpoints(folder, ranks, fingerprint="f") as checkpoints:
        state = state_of(blank(), ranks)
        loaded = checkpoints.load(state)
        assert loaded is not None
        wrong = differing(state, state_of(full(loaded.values["seed"]), ranks))
        return {"seed": loaded.values["seed"], "wrong": wrong, "refused": checkpoints.refused}


@pytest.mark.parametrize("name", ["rank-00000.safetensors", "rank-00001.safetensors"])
def test_all_ranks_take_the_same_one(folder: Path, name: str) -> None:
    """Each rank looks at one of the two files; what one finds, all know."""
    _flip(0.7)(folder / "last" / "00000003" / name)
    first, second = in_ranks(_load_in_ranks, 2, folder)
    assert first == second
    assert (first["seed"], first["wrong"], len(first["refused"])) == (2, [], 1)
    assert f"its file {name} has changed" in first["refused"][0]
