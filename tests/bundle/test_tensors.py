from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch

from twotower.bundle import parse_tensors, read_tensors, write_tensors
from twotower.bundle.tensors import save_tensors
from twotower.errors import BundleError, CorruptBundleError

DTYPES = [
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.uint8,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.bool,
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.safetensors"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (1,), (2, 3)])
def test_every_type_and_shape_comes_back(path: Path, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = torch.randint(0, 100, shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    write_tensors(path, {"x": tensor, "y": torch.ones(2)})
    found, metadata = read_tensors(path)
    assert list(found) == ["x", "y"]
    assert (found["x"].dtype, found["x"].shape) == (dtype, tensor.shape)
    assert torch.equal(found["x"], tensor)
    assert metadata == {}


def test_floats_that_are_no_numbers_come_back(path: Path) -> None:
    tensor = torch.tensor([float("nan"), float("inf"), -0.0])
    write_tensors(path, {"x": tensor})
    assert read_tensors(path)[0]["x"].view(torch.int32).tolist() == tensor.view(torch.int32).tolist()


def test_views_of_one_memory(path: Path) -> None:
    whole = torch.arange(12.0)
    tensors = {
        "whole": whole,
        "slice": whole[3:7],
        "transposed": whole.view(3, 4).T,
        "expanded": torch.ones(1).expand(3, 2),
        "parameter": torch.nn.Parameter(whole),
        "first empty": torch.empty(0),
        "second empty": torch.empty(0),
    }
    write_tensors(path, tensors)
    found, _ = read_tensors(path)
    assert {name: tensor.tolist() for name, tensor in found.items()} == {name: t.tolist() for name, t in tensors.items()}
    found["whole"].zero_()
    assert found["slice"].tolist() == [3.0, 4.0, 5.0, 6.0]


def test_a_small_view_does_not_drag_its_memory_along(path: Path) -> None:
    write_tensors(path, {"x": torch.zeros(100_000)[:2]})
    assert path.stat().st_size < 1_000


def test_metadata_comes_back(path: Path) -> None:
    write_tensors(path, {}, {"epoch": "3", "é": '{"a": [1]}', "empty": ""})
    assert read_tensors(path) == ({}, {"epoch": "3", "é": '{"a": [1]}', "empty": ""})


def test_other_programs_can_read_the_file(path: Path) -> None:
    write_tensors(path, {"x": torch.arange(3)}, {"epoch": "3"})
    assert safetensors.torch.load_file(path)["x"].tolist() == [0, 1, 2]
    with safetensors.safe_open(path, framework="pt") as file:
        assert file.metadata()["epoch"] == "3"


def test_the_same_tensors_are_the_same_file(path: Path) -> None:
    tensors = {name: torch.full((2,), number) for number, name in enumerate("gcafbed")}
    write_tensors(path, tensors)
    first = path.read_bytes()
    write_tensors(path, dict(reversed(tensors.items())))
    assert path.read_bytes() == first


def test_names_come_back_in_order(path: Path) -> None:
    write_tensors(path, {name: torch.ones(1, dtype=dtype) for name, dtype in zip("gcafbed", DTYPES, strict=False)})
    assert list(read_tensors(path)[0]) == ["a", "b", "c", "d", "e", "f", "g"]
    write_tensors(path, {}, dict.fromkeys("gcafbed", ""))
    assert list(read_tensors(path)[1]) == ["a", "b", "c", "d", "e", "f", "g"]


def header(data: bytes) -> tuple[dict[str, Any], bytes]:
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def with_header(values: dict[str, Any], body: bytes) -> bytes:
    text = json.dumps(values).encode()
    return len(text).to_bytes(8, "little") + text + body


def test_no_byte_can_change(path: Path) -> None:
    tensors = {"weights": torch.arange(6.0).view(2, 3), "step": torch.tensor(7), "mask": torch.tensor([True, False])}
    write_tensors(path, tensors, {"epoch": "3"})
    data = path.read_bytes()
    for position in range(len(data)):
        for flip in (0x01, 0x80):
            changed = bytearray(data)
            changed[position] ^= flip
            with pytest.raises(CorruptBundleError, match=r"^x\.safetensors "):
                parse_tensors(bytes(changed), source="x.safetensors")


def test_no_end_can_be_missing_and_none_can_be_added(path: Path) -> None:
    write_tensors(path, {"x": torch.arange(3.0)})
    data = path.read_bytes()
    for end in range(len(data)):
        with pytest.raises(CorruptBundleError):
            parse_tensors(data[:end], source="x")
    with pytest.raises(CorruptBundleError):
        parse_tensors(data + b"\x00", source="x")


@pytest.mark.parametrize("change", ["rename", "shape", "type", "metadata", "drop"])
def test_the_checksum_is_over_names_shapes_types_and_metadata_too(path: Path, change: str) -> None:
    write_tensors(path, {"a": torch.arange(4.0), "b": torch.arange(4.0)}, {"epoch": "3"})
    values, body = header(path.read_bytes())
    if change == "rename":
        values["c"] = values.pop("a")
    elif change == "shape":
        values["a"]["shape"] = [2, 2]
    elif change == "type":
        values["a"]["dtype"] = "I32"
    elif change == "metadata":
        values["__metadata__"]["epoch"] = "4"
    else:
        last = max(("a", "b"), key=lambda name: values[name]["data_offsets"][0])
        del values[last]
        body = body[:16]
    data = with_header(values, body)
    safetensors.torch.load(data)
    with pytest.raises(CorruptBundleError, match="x has changed since it was written: its checksum does not match"):
        parse_tensors(data, source="x")


def test_an_independent_checksum(path: Path) -> None:
    write_tensors(path, {"b": torch.tensor([1, 2]), "a": torch.tensor(True)}, {"epoch": "3"})
    digest = hashlib.sha256()
    digest.update(b'["a", "torch.bool", []]' + b"\x01")
    digest.update(b'["b", "torch.int64", [2]]' + (1).to_bytes(8, "little") + (2).to_bytes(8, "little"))
    digest.update(b'[["epoch", "3"]]')
    assert header(path.read_bytes())[0]["__metadata__"]["twotower.sha256"] == digest.hexdigest()


def test_a_file_of_another_program_is_refused(path: Path) -> None:
    for metadata in (None, {"epoch": "3"}):
        safetensors.torch.save_file({"x": torch.ones(1)}, path, metadata=metadata)
        with pytest.raises(CorruptBundleError, match=r"must carry its checksum \('twotower.sha256'\), and does not"):
            read_tensors(path)


def test_what_is_no_tensor_file_is_refused(path: Path) -> None:
    for data in (b"", b"not tensors", b"\x80\x04N.", b"\xff" * 100):
        path.write_bytes(data)
        with pytest.raises(CorruptBundleError, match=r"state\.safetensors must be a whole safetensors file, and is not"):
            read_tensors(path)


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"none can't be read: No such file or directory; check the path") as caught:
        read_tensors(tmp_path / "none")
    assert not isinstance(caught.value, CorruptBundleError)
    with pytest.raises(BundleError, match="can't be read: Is a directory"):
        read_tensors(tmp_path)


@pytest.mark.parametrize(
    ("tensors", "metadata", "kind", "message"),
    [
        ({"x": [1.0]}, {}, TypeError, "every value is a tensor; 'x' is a list"),
        ({"__metadata__": torch.ones(1)}, {}, ValueError, "'__metadata__' is kept by the safetensors format"),
        ({"x": torch.eye(2).to_sparse()}, {}, ValueError, "'x' is torch.sparse_coo: call .to_dense"),
        ({}, {"epoch": 3}, TypeError, "metadata is text; 'epoch' is a int: write it as JSON text"),
        ({}, {"twotower.sha256": "x"}, ValueError, "'twotower.sha256' is kept for the checksum"),
    ],
)
def test_what_can_not_be_written(
    path: Path, tensors: dict[str, Any], metadata: dict[str, Any], kind: type[Exception], message: str
) -> None:
    write_tensors(path, {"old": torch.ones(1)})
    with pytest.raises(kind, match=message):
        write_tensors(path, tensors, metadata)
    assert list(read_tensors(path)[0]) == ["old"]
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_full_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write_tensors(path, {"old": torch.ones(1)})
    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(BundleError, match=r"state\.safetensors can't be written: .*No space left"):
        write_tensors(path, {"new": torch.ones(1)})
    assert list(read_tensors(path)[0]) == ["old"]
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_who_may_read_other_new_files_may_read_these(path: Path) -> None:
    """A bundle is trained by one user and served by another."""
    plain = path.with_name("plain.txt")
    plain.write_text("", encoding="utf-8")
    write_tensors(path, {"x": torch.ones(1)})
    assert path.stat().st_mode == plain.stat().st_mode


def test_the_file_that_is_locked_is_the_one_that_is_written(path: Path) -> None:
    """Tensors go into the file that is there: another one in its place would be unlocked, and left behind by a crash."""
    path.touch()
    before = path.stat().st_ino
    save_tensors(path, {"x": torch.ones(1)})
    assert path.stat().st_ino == before


def test_an_interrupted_write_leaves_the_old_state(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tensors(path, {"old": torch.ones(1)})

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_tensors(path, {"new": torch.ones(1)})
    assert list(read_tensors(path)[0]) == ["old"]


def test_what_was_read_can_be_changed(path: Path) -> None:
    write_tensors(path, {"x": torch.zeros(3)})
    read_tensors(path)[0]["x"].add_(1)
    assert read_tensors(path)[0]["x"].tolist() == [0.0, 0.0, 0.0]


def test_a_tensor_without_a_number_is_written_whatever_its_strides(path: Path) -> None:
    nothing = torch.empty(0, dtype=torch.int32).as_strided((0,), (0,))  # as NumPy gives for a column of no rows
    write_tensors(path, {"nothing": nothing, "something": torch.ones(2)})
    assert read_tensors(path)[0]["nothing"].tolist() == []
