"""Whenever a process dies while it saves, what was committed before can be loaded; where a disk is full, one error says so."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.distributed.checkpoint_state import blank, differing, full, state_of
from tests.distributed.file_operations import at_operation
from tests.distributed.in_ranks import _child, _context, in_ranks

from twotower.distributed import ALONE, Checkpoints, Ranks, TrainingState, tensor_file
from twotower.errors import CheckpointError


def _state(seed: int) -> TrainingState:
    return TrainingState(replicated={"a": torch.full((40, 2), float(seed)), "b": torch.tensor(seed)}, values={"seed": seed})


def _save(folder: Path, *seeds: int) -> None:
    with Checkpoints(folder, fingerprint="f", keep=2, asynchronous=False) as checkpoints:
        for seed in seeds:
            checkpoints.save(_state(seed), step=seed)


def _newest(folder: Path) -> int:
    """Of which seed the checkpoint is that is loaded, every number of it."""
    found = _state(0)
    with Checkpoints(folder, fingerprint="f", keep=2) as checkpoints:
        loaded = checkpoints.load(found)
    assert loaded is not None
    seed: int = loaded.values["seed"]
    assert all(torch.equal(tensor, _state(seed).replicated[name]) for name, tensor in found.replicated.items())
    return seed


def _contents(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "last").iterdir())


def _killed_everywhere(ranks: Ranks, base: Path) -> list[tuple[int, list[str], list[str]]]:
    """For every operation on files: save a third checkpoint in a process that dies before it, and go on after it."""
    tensor_file._BLOCK_BYTES = 64
    found = []
    _save(base / "two", 1, 2)
    for number in range(1000):
        folder = base / str(number)
        shutil.copytree(base / "two", folder)
        child = os.fork()
        if not child:
            with at_operation(number, lambda: os.kill(os.getpid(), signal.SIGKILL)):
                _save(folder, 3)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        left = _contents(folder)
        newest = _newest(folder)
        _save(folder, 4)
        assert _newest(folder) == 4
        found.append((newest, left, _contents(folder)))
        shutil.rmtree(folder)
        if not os.WIFSIGNALED(status):
            assert os.WEXITSTATUS(status) == 0
            return found
    raise AssertionError("it goes on for ever")


def test_a_process_that_dies_anywhere_leaves_what_was_committed(tmp_path: Path) -> None:
    (found,) = in_ranks(_killed_everywhere, 1, tmp_path)
    newest = [each for each, _, _ in found]
    assert newest == sorted(newest)  # up to a moment the one before, from then on the new one
    assert newest[0] == 2
    assert newest[-1] == 3
    assert newest.count(2) > 20  # folder, header, blocks of 64 bytes, JSON files, commit file
    assert newest.count(3) > 5  # old ones are removed after that, file by file
    begun = ["00000001", "00000002", "00000003"]
    assert sum(left == begun and each == 2 for each, left, _ in found) > 15
    assert any(left == [".00000001.removed", "00000002", "00000003"] for _, left, _ in found)
    assert found[-1][1] == ["00000002", "00000003"]
    for each, _, after in found:  # what was left lying is gone, and two are there
        assert len(after) == 2
        assert after[0] == f"0000000{each}"
        assert after[1] > "00000003" if each == 3 else after[1] in ("00000003", "00000004")


def _no_space() -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_full_disk_is_one_error_and_the_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asynchronous: bool
) -> None:
    def full_disk(*args: object) -> None:
        _no_space()

    with Checkpoints(tmp_path, fingerprint="f", asynchronous=asynchronous) as checkpoints:
        checkpoints.save(_state(1), step=1)
        checkpoints.wait()
        with monkeypatch.context() as patched, pytest.raises(CheckpointError) as caught:  # noqa: PT012
            patched.setattr(tensor_file, "_write", full_disk)
            checkpoints.save(_state(2), step=2)
            checkpoints.save(_state(3), step=3)  # raises what went wrong with the one before, and writes nothing
        folder = tmp_path / "last"
        assert str(caught.value) == (
            f"{folder}: the checkpoint of step 2 was not written: "
            f"{folder / '00000002' / 'rank-00000.safetensors'} can't be written: No space left on device"
        )
        assert _contents(tmp_path) == ["00000001"]
        assert _newest(tmp_path) == 1
        checkpoints.save(_state(4), step=4)
    assert _newest(tmp_path) == 4


def test_a_disk_that_is_full_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_file, "_BLOCK_BYTES", 64)
    written: list[bool] = []
    _save(tmp_path / "two", 1, 2)
    for number in range(1000):
        folder = tmp_path / str(number)
        shutil.copytree(tmp_path / "two", folder)
        checkpoints = Checkpoints(folder, fingerprint="f", keep=2, asynchronous=False)
        said = ""
        try:
            with at_operation(number, _no_space) as seen:
                checkpoints.save(_state(3), step=3)
        except CheckpointError as error:
            said = str(error)
        if len(seen) <= number:
            break
        if said:
            assert "No space left on device" in said
            assert "\n" not in said
            written.append("was not written" not in said)
        assert _newest(folder) == (2 if "was not written" in said else 3)
        checkpoints.save(_state(4), step=4)
        checkpoints.close()
        assert _newest(folder) == 4
        assert len(_contents(folder)) == 2
    assert written == sorted(written)
    assert written.count(False) > 20
    assert written.count(True) > 5


def _dies_in_the_middle(ranks: Ranks, folder: Path) -> None:
    checkpoints = Checkpoints(folder, ranks, fingerprint="f")
    checkpoints.save(state_of(full(1), ranks), step=1)
    checkpoints.wait()
    write = tensor_file._write

    def written(file: Any, block: Any) -> None:
        if ranks.rank == 1 and file.tell() > 1000:
            os.kill(os.getpid(), signal.SIGKILL)
        write(file, block)

    tensor_file._write = written
    checkpoints.save(state_of(full(2), ranks), step=2)
    try:
        checkpoints.close()
    except CheckpointError as error:
        (folder / "error.part").write_text(str(error))
        (folder / "error.part").rename(folder / "error")


def test_a_rank_that_dies_is_an_error_of_the_others(tmp_path: Path) -> None:
    context: Any = _context()
    with tempfile.TemporaryDirectory() as store:
        arguments = [(_dies_in_the_middle, rank, 2, f"{store}/store", context.Queue(), (tmp_path,)) for rank in range(2)]
        children = [context.Process(target=_child, args=each) for each in arguments]
        for child in children:
            child.start()
        try:
            until = time.monotonic() + 240
            while not (tmp_path / "error").exists() and time.monotonic() < until:
                time.sleep(0.1)
        finally:
            for child in children:
                child.kill()
                child.join()
    assert children[1].exitcode == -signal.SIGKILL
    assert (tmp_path / "error").read_text().startswith(f"{tmp_path / 'last'}: the checkpoint of step 2 was not written: ")
    state = state_of(blank(), ALONE)
    with Checkpoints(tmp_path, fingerprint="f") as checkpoints:
        loaded = checkpoints.load(state)
    assert loaded is not None
    assert loaded.step == 1
    assert differing(state, state_of(full(1), ALONE)) == []
