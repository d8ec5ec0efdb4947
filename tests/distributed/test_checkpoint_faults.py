"""A rank that fails while saving or loading: all raise the same, nobody waits for ever, and the next save works."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.distributed.checkpoint_state import blank, differing, full, state_of
from tests.distributed.in_ranks import in_ranks

from twotower.distributed import ALONE, Checkpoints, Ranks, Shard, TrainingState, dcp_storage
from twotower.errors import CheckpointError

SHAPE = (4, 2)


def _piece(offset: int, rows: int, shape: tuple[int, ...] = SHAPE, dtype: torch.dtype = torch.float32) -> TrainingState:
    return TrainingState(sharded={"table": [Shard(shape, (offset, 0), torch.ones(rows, shape[1], dtype=dtype))]})


def _bad_states(ranks: Ranks) -> dict[str, Callable[[], TrainingState]]:
    """States of which what rank 1 gives is wrong."""
    second = ranks.rank == 1
    good = state_of(full(1), ranks)
    return {
        "values": lambda: TrainingState(good.replicated, good.sharded, {"what": object()} if second else {}),
        "type": lambda: TrainingState({"a": torch.ones(2, dtype=torch.complex64 if second else torch.float32)}),
        "missing": lambda: TrainingState({} if second else {"a": torch.ones(2)}),
        "additional": lambda: TrainingState({"a": torch.ones(2)} | ({"b": torch.ones(1)} if second else {})),
        "shape": lambda: TrainingState({"a": torch.ones(3 if second else 2)}),
        "gap": lambda: _piece(3 if second else 0, 1 if second else 2),
        "overlap": lambda: _piece(1 if second else 0, 3 if second else 2),
        "other shape": lambda: _piece(2 if second else 0, 2, (5, 2) if second else SHAPE),
        "other type": lambda: _piece(2 if second else 0, 2, dtype=torch.float64 if second else torch.float32),
    }


def _fails(work: Callable[[], Any]) -> str:
    try:
        work()
    except CheckpointError as error:
        return str(error)
    return "nothing was raised"


def _full_disk(*args: object) -> None:
    raise OSError(28, "No space left on device")


class _UnsendableError(Exception):
    """Does not survive the way to another process."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(lambda: (first, second))


def _strange(*args: object) -> None:
    raise _UnsendableError("a", "b")


def _faults(ranks: Ranks, folder: Path) -> dict[str, str]:
    found = {}
    patch = pytest.MonkeyPatch()
    with Checkpoints(folder, ranks, fingerprint="f", keep=2) as checkpoints:
        checkpoints.save(state_of(full(1), ranks), step=1)
        for name, bad in _bad_states(ranks).items():
            checkpoints.save(bad(), step=2)
            found[name] = _fails(checkpoints.wait)
        for name, fault in (("disk", _full_disk), ("strange", _strange)):
            if ranks.rank == 1:
                patch.setattr(dcp_storage, "write_tensor_file", fault)
            checkpoints.save(state_of(full(2), ranks), step=2)
            found[name] = _fails(lambda: checkpoints.save(state_of(full(2), ranks), step=3))
            patch.undo()
        if ranks.rank == 1:
            patch.setattr(dcp_storage, "read_region", _strange)
        found["read"] = _fails(lambda: checkpoints.load(state_of(blank(), ranks)))
        patch.undo()
        tensors = blank() | ({"rows": torch.ones(3, 4)} if ranks.rank == 1 else {})
        found["asked"] = _fails(lambda: checkpoints.load(state_of(tensors, ranks)))
        checkpoints.save(state_of(full(4), ranks), step=4)
        state = state_of(blank(), ranks)
        loaded = checkpoints.load(state)
        assert loaded is not None
        assert (loaded.step, differing(state, state_of(full(4), ranks))) == (4, [])
        found["left"] = str(sorted(path.name for path in (folder / "last").iterdir()))
    return found


def test_what_fails_on_one_rank_is_raised_on_all(tmp_path: Path) -> None:
    first, second = in_ranks(_faults, 2, tmp_path)
    assert first == second
    said = {
        name: text.removeprefix(f"{tmp_path / 'last'}: the checkpoint of step 2 was not written: ")
        for name, text in first.items()
    }
    assert said["values"].startswith("rank 1: the values of a checkpoint are numbers, text, lists and dicts of them: ")
    assert said["type"].startswith("rank 1: a checkpoint holds tensors of torch.float64, ")
    differ = (
        "rank 0: replicated tensors have the same names, shapes and types on all ranks; rank 1 has them otherwise than rank 0: "
    )
    assert said["missing"] == f"{differ}a: F32 [2]"
    assert said["additional"] == f"{differ}b: F32 [1]"
    assert said["shape"].startswith(f"{differ}a: F32 [")
    make_up = "rank 0: the ranks' pieces of a tensor make it up, each number once: "
    assert said["gap"].startswith(make_up)
    assert "tensor-volume: 8 chunks-volume: 6" in said["gap"]
    assert said["overlap"].startswith(make_up)
    assert "overlapping chunks" in said["overlap"]
    kinds = "rank 0: all pieces of a tensor are of one shape and type; 'table' is torch.float32 (4, 2) in one and "
    assert said["other shape"] == f"{kinds}torch.float32 (5, 2) in another"
    assert said["other type"] == f"{kinds}torch.float64 (4, 2) in another"
    file = tmp_path / "last" / "00000002" / "rank-00001.safetensors"
    assert said["disk"] == f"rank 1: {file} can't be written: No space left on device"
    assert said["strange"].startswith(f"rank 1: {file} can't be written: _UnsendableError: ")
    assert said["read"].startswith("rank 1: ")
    assert "can't be read: _UnsendableError: " in said["read"]
    assert said["asked"] == f"rank 1: {tmp_path / 'last' / '00000001'}: its 'rows' is F32 [11, 4], and F32 [3, 4] is asked for"
    assert said["left"] == "['00000001', '00000002']"


def test_gaps_are_found_by_one_process_too(tmp_path: Path) -> None:
    with Checkpoints(tmp_path, fingerprint="f", asynchronous=False) as checkpoints:
        with pytest.raises(
            CheckpointError, match="the ranks' pieces of a tensor make it up, each number once; 'table' has gaps"
        ):
            checkpoints.save(_piece(0, 3), step=1)
        assert list((tmp_path / "last").iterdir()) == []


def test_the_block_s_own_error_is_the_one_that_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dcp_storage, "write_tensor_file", _full_disk)

    def train() -> None:
        with Checkpoints(tmp_path, ALONE, fingerprint="f") as checkpoints:
            checkpoints.save(state_of(full(1), ALONE), step=1)
            raise KeyError("of the training")

    with pytest.raises(KeyError, match="of the training") as caught:
        train()
    (note,) = caught.value.__notes__
    assert "a checkpoint was not written" in note
    assert "No space left on device" in note

    def end() -> None:
        with Checkpoints(tmp_path, ALONE, fingerprint="f") as checkpoints:
            checkpoints.save(state_of(full(1), ALONE), step=1)

    with pytest.raises(CheckpointError, match="No space left on device"):
        end()
