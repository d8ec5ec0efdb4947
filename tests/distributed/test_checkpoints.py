"""Checkpoints: what was saved by some ranks is loaded by others, with the same bits, from the moment of the call."""

from __future__ import annotations

import importlib
import json
import resource
import threading
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from tests.distributed.checkpoint_state import REPLICATED, SHARDED, bits, blank, differing, full, state_of
from tests.distributed.in_ranks import in_ranks

from twotower.distributed import ALONE, Checkpoints, Ranks, Shard, TrainingState, dcp_storage, tensor_file
from twotower.errors import CheckpointError

VALUES = {"epoch": 3, "records": [{"loss": 0.25, "metrics": {}}], "best": None, "stopped": False}


def _save(ranks: Ranks, folder: Path, seed: int, asynchronous: bool) -> None:
    with Checkpoints(folder, ranks, fingerprint="f", asynchronous=asynchronous) as checkpoints:
        checkpoints.save(state_of(full(seed), ranks, VALUES), step=seed * 10)


def _load(ranks: Ranks, folder: Path, seed: int) -> dict[str, Any]:
    with Checkpoints(folder, ranks, fingerprint="f") as checkpoints:
        state = state_of(blank(), ranks)
        loaded = checkpoints.load(state)
        assert loaded is not None
        wrong = differing(state, state_of(full(seed), ranks))
        return {
            "wrong": wrong,
            "step": loaded.step,
            "ranks": loaded.ranks,
            "values": loaded.values,
            "refused": checkpoints.refused,
        }


@pytest.mark.parametrize(
    ("before", "after", "asynchronous"), [(1, 1, True), (2, 1, True), (1, 4, True), (4, 2, False), (2, 2, False)]
)
def test_what_some_ranks_saved_others_load(tmp_path: Path, before: int, after: int, asynchronous: bool) -> None:
    in_ranks(_save, before, tmp_path, 5, asynchronous)
    for found in in_ranks(_load, after, tmp_path, 5):
        assert found == {"wrong": [], "step": 50, "ranks": before, "values": VALUES, "refused": []}


def test_the_comparison_sees_a_number_that_differs() -> None:
    other = full(5)
    other["rows"][10, 3] += 1
    other["weights"][0, 1] = 0.0  # was -0.0
    assert differing(state_of(other, ALONE), state_of(full(5), ALONE)) == ["weights", "rows"]


def _stored(folder: Path) -> list[int]:
    """How many bytes of tensors every file has."""
    return [
        sum(each.nbytes for each in safetensors.torch.load_file(path).values()) for path in sorted(folder.glob("*.safetensors"))
    ]


def test_what_all_have_alike_is_written_once_and_by_all(tmp_path: Path) -> None:
    in_ranks(_save, 2, tmp_path, 5, True)
    written = _stored(tmp_path / "last" / "00000001")
    assert sum(written) == sum(tensor.nbytes for tensor in full(5).values())
    assert len(written) == 2
    assert min(written) > 0.45 * sum(written)


def test_files_are_plain_safetensors_and_json(tmp_path: Path) -> None:
    _save(ALONE, tmp_path, 5, True)
    folder = tmp_path / "last" / "00000001"
    assert sorted(path.name for path in folder.iterdir()) == ["commit", "rank-00000.safetensors", "tensors.json", "values.json"]
    tensors = safetensors.torch.load_file(folder / "rank-00000.safetensors")
    assert bits(tensors["rows@0,0"]) == bits(full(5)["rows"])
    assert json.loads((folder / "values.json").read_text()) == VALUES
    assert sorted(json.loads((folder / "tensors.json").read_text())) == sorted([*REPLICATED, *SHARDED])


def _load_whole(ranks: Ranks, folder: Path) -> bool:
    """What was saved in shards, as a tensor that every rank has."""
    rows = torch.zeros(11, 4)
    with Checkpoints(folder, ranks, fingerprint="f") as checkpoints:
        checkpoints.load(TrainingState(replicated={"rows": rows}), partial=True)
    return bits(rows) == bits(full(5)["rows"])


def test_shards_are_loaded_whole_and_whole_tensors_in_shards(tmp_path: Path) -> None:
    in_ranks(_save, 2, tmp_path / "sharded", 5, True)
    assert in_ranks(_load_whole, 2, tmp_path / "sharded") == [True, True]
    rows = full(5)["rows"]
    with Checkpoints(tmp_path / "whole", fingerprint="f") as checkpoints:
        checkpoints.save(TrainingState(replicated={"rows": rows}), step=1)
        part = torch.zeros(4, 2)
        checkpoints.load(TrainingState(sharded={"rows": [Shard((11, 4), (3, 1), part)]}))
    assert bits(part) == bits(rows[3:7, 1:3])


def test_a_shard_reads_only_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.arange(40.0).reshape(20, 2)
    read: list[tuple[int, ...]] = []

    def spied(path: Path, name: str, starts: list[int], into: torch.Tensor) -> None:
        read.append((starts[0], len(into)))
        tensor_file.read_region(path, name, starts, into)

    with Checkpoints(tmp_path, fingerprint="f") as checkpoints:
        halves = [Shard((20, 2), (0, 0), rows[:10]), Shard((20, 2), (10, 0), rows[10:])]
        checkpoints.save(TrainingState(sharded={"rows": halves}), step=1)
        monkeypatch.setattr(dcp_storage, "read_region", spied)
        part = torch.zeros(4, 2)
        checkpoints.load(TrainingState(sharded={"rows": [Shard((20, 2), (8, 0), part)]}))
    assert sorted(read) == [(0, 2), (8, 2)]
    assert torch.equal(part, rows[8:12])


def _private_bytes() -> int:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData:")]
    return int(line.split()[1]) * 1024


def _with_little_memory(ranks: Ranks, folder: Path) -> float:
    """Save and load a table where there is room for half of another one."""
    table = torch.arange(24_000_000.0).reshape(-1, 8)
    state = TrainingState(sharded={"table": [Shard(tuple(table.shape), (0, 0), table)]})
    small = TrainingState(sharded={"table": [Shard((1, 1), (0, 0), table[:1, :1])]})
    with Checkpoints(folder, fingerprint="f", asynchronous=False) as checkpoints:
        checkpoints.save(small, step=0)  # everything is imported
        resource.setrlimit(resource.RLIMIT_DATA, (_private_bytes() + table.nbytes // 2, resource.RLIM_INFINITY))
        with pytest.raises(RuntimeError, match="memory"):
            table.clone()
        checkpoints.save(state, step=1)
        expected = float(table.sum())
        table.zero_()
        checkpoints.load(state)
        return float(table.sum()) - expected


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's figures of memory")
def test_no_tensor_is_held_twice(tmp_path: Path) -> None:
    assert in_ranks(_with_little_memory, 1, tmp_path) == [0.0]


def test_a_checkpoint_is_of_the_moment_of_the_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, changed = threading.Event(), threading.Event()
    write = tensor_file.write_tensor_file

    def late(*args: Any) -> Any:
        begun.set()
        assert changed.wait(60)
        return write(*args)

    monkeypatch.setattr(dcp_storage, "write_tensor_file", late)
    tensors = full(5)
    values = {"epoch": [3]}
    with Checkpoints(tmp_path, fingerprint="f") as checkpoints:
        checkpoints.save(state_of(tensors, ALONE, values), step=1)
        assert begun.wait(60)
        for tensor in tensors.values():
            tensor.zero_()
        values["epoch"].append(4)
        assert not (tmp_path / "last" / "00000001" / "commit").exists()
        changed.set()
        state = state_of(blank(), ALONE)
        loaded = checkpoints.load(state)
    assert differing(state, state_of(full(5), ALONE)) == []
    assert loaded is not None
    assert loaded.values == {"epoch": [3]}


def test_a_second_save_waits_for_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running: list[int] = []
    most: list[int] = []
    write = tensor_file.write_tensor_file

    def counted(*args: Any) -> Any:
        running.append(1)
        most.append(len(running))
        found = write(*args)
        running.pop()
        return found

    monkeypatch.setattr(dcp_storage, "write_tensor_file", counted)
    with Checkpoints(tmp_path, fingerprint="f") as checkpoints:
        for seed in range(4):
            checkpoints.save(state_of(full(seed), ALONE), step=seed)
    assert most == [1] * 4
    assert sorted(path.name for path in (tmp_path / "last").iterdir()) == ["00000002", "00000003", "00000004"]


def _numbers(folder: Path) -> list[str]:
    return sorted(path.name.lstrip("0") for path in folder.iterdir())


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_last_ones_are_kept(tmp_path: Path, keep: int) -> None:
    with Checkpoints(tmp_path, fingerprint="f", keep=keep, asynchronous=False) as checkpoints:
        for seed in range(5):
            checkpoints.save(state_of(full(seed), ALONE), step=seed)
            assert _numbers(tmp_path / "last") == [str(number) for number in range(max(1, seed + 2 - keep), seed + 2)]


def test_another_name_is_kept_apart(tmp_path: Path) -> None:
    with Checkpoints(tmp_path, fingerprint="f", keep=2, asynchronous=False) as checkpoints:
        for seed in range(4):
            checkpoints.save(state_of(full(seed), ALONE), step=seed)
            if seed < 2:
                checkpoints.save(state_of(full(seed), ALONE), step=seed, name="best")
        assert (_numbers(tmp_path / "last"), _numbers(tmp_path / "best")) == (["3", "4"], ["2"])
        for name, seed in (("best", 1), ("last", 3)):
            state = state_of(blank(), ALONE)
            loaded = checkpoints.load(state, name=name)
            assert loaded is not None
            assert (loaded.step, loaded.path.parent.name) == (seed, name)
            assert differing(state, state_of(full(seed), ALONE)) == []


def test_of_two_with_one_step_the_later_is_loaded(tmp_path: Path) -> None:
    with Checkpoints(tmp_path, fingerprint="f") as checkpoints:
        for seed in (1, 2):
            checkpoints.save(state_of(full(seed), ALONE), step=7)
        state = state_of(blank(), ALONE)
        assert checkpoints.load(state) is not None
    assert differing(state, state_of(full(2), ALONE)) == []
    assert _numbers(tmp_path / "last") == ["1", "2"]


def test_where_nothing_was_saved_nothing_is_loaded(tmp_path: Path) -> None:
    state = state_of(blank(), ALONE)
    with Checkpoints(tmp_path / "none", fingerprint="f") as checkpoints:
        assert checkpoints.load(state) is None
        assert checkpoints.refused == []
    assert differing(state, state_of(blank(), ALONE)) == []
    assert not (tmp_path / "none").exists()


def _save_in_phases(ranks: Ranks, folder: Path) -> list[int]:
    """Several at once and one after another, each with a group of processes of its own."""
    steps = []
    with (
        Checkpoints(folder / "a", ranks, fingerprint="f") as first,
        Checkpoints(folder / "b", ranks, fingerprint="f") as second,
    ):
        for checkpoints in (first, second, first):
            checkpoints.save(state_of(full(1), ranks), step=1)
        ranks.wait()  # of the training, while threads write
    for name in ("a", "b", "a"):
        with Checkpoints(folder / name, ranks, fingerprint="f") as checkpoints:
            loaded = checkpoints.load(state_of(blank(), ranks))
            steps.append(-1 if loaded is None else loaded.step)
            checkpoints.save(state_of(full(2), ranks), step=2)
    return steps


def test_phases_have_checkpoints_of_their_own(tmp_path: Path) -> None:
    assert in_ranks(_save_in_phases, 2, tmp_path) == [[1, 1, 2], [1, 1, 2]]


def _load_as_another(ranks: Ranks, folder: Path) -> list[str]:
    with Checkpoints(folder, ranks, fingerprint="g") as checkpoints, pytest.raises(CheckpointError) as caught:
        checkpoints.load(state_of(blank(), ranks))
    return [str(caught.value)]


def test_another_fingerprint_is_refused_by_all(tmp_path: Path) -> None:
    _save(ALONE, tmp_path, 5, True)
    (first,), (second,) = in_ranks(_load_as_another, 2, tmp_path)
    assert first == second
    assert "00000001: this checkpoint is of another recipe, data set or library version" in first


def test_clear_starts_over(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("kept")
    with Checkpoints(tmp_path, fingerprint="f") as checkpoints:
        checkpoints.clear()
        checkpoints.save(state_of(full(1), ALONE), step=1)
        checkpoints.save(state_of(full(1), ALONE), step=1, name="best")
        checkpoints.clear()
        assert checkpoints.load(state_of(blank(), ALONE)) is None
        assert checkpoints.load(state_of(blank(), ALONE), name="best") is None
    assert list((tmp_path / "last").iterdir()) == []
    assert (tmp_path / "other" / "file").exists()


def test_what_is_asked_for_must_be_what_was_saved(tmp_path: Path) -> None:
    with Checkpoints(tmp_path, fingerprint="f") as checkpoints:
        checkpoints.save(TrainingState(replicated={"table": torch.ones(3, 2), "bias": torch.ones(2)}), step=1)

        def load(partial: bool = True, **tensors: torch.Tensor) -> None:
            checkpoints.load(TrainingState(replicated=tensors), partial=partial)

        with pytest.raises(CheckpointError, match=r"00000001: it holds no tensor 'tabel'; did you mean 'table'\?"):
            load(tabel=torch.ones(3, 2))
        with pytest.raises(CheckpointError, match=r"its 'table' is F32 \[3, 2\], and F32 \[2, 3\] is asked for"):
            load(table=torch.ones(2, 3))
        with pytest.raises(CheckpointError, match=r"its 'table' is F32 \[3, 2\], and F64 \[3, 2\] is asked for"):
            load(table=torch.ones(3, 2, dtype=torch.float64))
        with pytest.raises(CheckpointError, match="it also holds bias, for which no rank has a place"):
            load(table=torch.ones(3, 2), partial=False)
        bias = torch.zeros(2)
        load(bias=bias)
        assert bias.tolist() == [1, 1]


def test_parameters_are_filled_in_place(tmp_path: Path) -> None:
    layer = torch.nn.Linear(3, 2)
    before = layer.weight.detach().clone()
    with Checkpoints(tmp_path, fingerprint="f") as checkpoints:
        checkpoints.save(TrainingState(replicated=dict(layer.named_parameters())), step=1)
        with torch.no_grad():
            layer.weight.zero_()
        checkpoints.load(TrainingState(replicated=dict(layer.named_parameters())))
    assert torch.equal(layer.weight, before)
    assert layer.weight.requires_grad


def test_arguments_that_can_not_be() -> None:
    with pytest.raises(ValueError, match="keep is how many checkpoints stay, at least 1; came 0"):
        Checkpoints(Path("nowhere"), fingerprint="f", keep=0)
    checkpoints = Checkpoints(Path("nowhere"), fingerprint="f")
    for name in ("", "../best", "Best", ".hidden"):
        with pytest.raises(ValueError, match="a checkpoint's name is one of small letters"):
            checkpoints.load(TrainingState(), name=name)
    checkpoints.close()
    checkpoints.close()
    with pytest.raises(ValueError, match="closed"):
        checkpoints.save(TrainingState(), step=1)


def test_states_that_can_not_be() -> None:
    table = torch.ones(3, 2)
    with pytest.raises(CheckpointError, match="a tensor is replicated or sharded; came as both: table"):
        TrainingState(replicated={"table": table}, sharded={"table": []})
    with pytest.raises(CheckpointError, match=r"a checkpoint holds dense tensors; 'table' is torch\.sparse_coo"):
        TrainingState(replicated={"table": table.to_sparse()})
    with pytest.raises(CheckpointError, match="'step' is int"):
        TrainingState(replicated={"step": 3})  # type: ignore[dict-item]
    for shape, offsets in [((3, 2), (1, 0)), ((3, 2), (0, -1)), ((3, 2), (0,)), ((3,), (0, 0)), ((3, 1), (0, 0))]:
        with pytest.raises(CheckpointError, match="a shard lies within its tensor"):
            Shard(shape, offsets, table)


def test_who_does_not_go_on_meanwhile_needs_no_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("twotower.distributed.checkpoints")
    pieces, copies = module.pieces_to_write, []

    def noted(*args: Any, copied: bool) -> Any:
        copies.append(copied)
        return pieces(*args, copied=copied)

    monkeypatch.setattr(module, "pieces_to_write", noted)
    weights = torch.arange(6.0)
    state = TrainingState(replicated={"weights": weights})
    with Checkpoints(tmp_path, fingerprint="f") as checkpoints:
        checkpoints.save(state, step=1)
        checkpoints.save(state, step=2, copied=False)
        assert copies == [True, False]
        assert len(list((tmp_path / "last").glob("*/commit"))) == 2, "it is written when the call returns"
        weights.zero_()
        loaded = checkpoints.load(state)
    assert loaded is not None
    assert (loaded.step, weights.tolist()) == (2, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
