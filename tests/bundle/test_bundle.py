from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

from twotower import __version__
from twotower.bundle import BundleWriter, open_bundle, write_bundle
from twotower.bundle import bundle as bundle_module
from twotower.errors import BundleError, CorruptBundleError, IncompatibleBundleError

FRAME = pl.DataFrame(
    {
        "id": ["a", None, "é"],
        "n": pl.Series([1, 2, 3], dtype=pl.UInt8),
        "list": [["x"], [], None],
        "day": [date(2026, 1, 2), None, date(1970, 1, 1)],
        "kind": pl.Series(["u", "v", "u"], dtype=pl.Enum(["u", "v"])),
    }
)


def write(path: Path, *, scale: float = 1.0) -> None:
    with write_bundle(path, card={"recall@10": scale}, created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) as writer:
        writer.tensors("model", {"weights": torch.arange(4.0) * scale, "step": torch.tensor(3)})
        writer.json("spec", {"scale": scale, "ids": ["a", "b"]})
        writer.frame("items", FRAME)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write(tmp_path / "bundle")
    return tmp_path / "bundle"


def resign(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest, and its checksum with it, as someone would who wants to be believed."""
    values = json.loads((path / "manifest.json").read_text())
    change(values)
    data = json.dumps(values).encode()
    (path / "manifest.json").write_bytes(data)
    (path / "manifest.sha256").write_text(f"{hashlib.sha256(data).hexdigest()}  manifest.json\n")


def test_everything_comes_back(path: Path) -> None:
    bundle = open_bundle(path)
    assert bundle.path == path
    assert bundle.names == ("items", "model", "spec")
    assert bundle.card == {"recall@10": 1.0}
    assert {name: tensor.tolist() for name, tensor in bundle.tensors("model").items()} == {"step": 3, "weights": [0, 1, 2, 3]}
    assert bundle.json("spec") == {"scale": 1.0, "ids": ["a", "b"]}
    assert_frame_equal(bundle.frame("items"), FRAME)


def test_the_folder_is_what_the_manifest_says(path: Path) -> None:
    assert sorted(entry.name for entry in path.iterdir()) == [
        "items.parquet",
        "manifest.json",
        "manifest.sha256",
        "model.safetensors",
        "spec.json",
    ]
    data = (path / "manifest.json").read_bytes()
    assert (path / "manifest.sha256").read_text() == f"{hashlib.sha256(data).hexdigest()}  manifest.json\n"
    values = json.loads(data)
    assert values["format"] == "twotower-bundle"
    assert values["format_version"] == 1
    assert values["library_version"] == __version__
    assert values["created_at"] == "2026-01-02T03:04:05+00:00"
    assert list(values["parts"]) == ["model", "spec", "items"]
    for part in values["parts"].values():
        content = (path / part["file"]).read_bytes()
        assert part["size_bytes"] == len(content)
        assert part["sha256"] == hashlib.sha256(content).hexdigest()


def test_the_same_contents_are_the_same_bytes(path: Path, tmp_path: Path) -> None:
    write(tmp_path / "again")
    for entry in path.iterdir():
        assert entry.read_bytes() == (tmp_path / "again" / entry.name).read_bytes(), entry.name


def test_the_time_of_writing_is_utc(tmp_path: Path) -> None:
    with write_bundle(tmp_path / "a", created_at=datetime(2026, 1, 1, 1, 0, tzinfo=timezone(timedelta(hours=2)))):
        pass
    assert open_bundle(tmp_path / "a").manifest.created_at == "2025-12-31T23:00:00+00:00"
    before = datetime.now(UTC).replace(microsecond=0)
    with write_bundle(tmp_path / "b"):
        pass
    written = datetime.fromisoformat(open_bundle(tmp_path / "b").manifest.created_at)
    assert before <= written <= datetime.now(UTC)
    assert written.tzinfo is not None


def test_nothing_in_it(tmp_path: Path) -> None:
    with write_bundle(tmp_path / "bundle") as writer:
        writer.tensors("none", {})
        writer.frame("no_columns", pl.DataFrame())
        writer.frame("no_rows", FRAME.clear())
        writer.json("null", None)
    bundle = open_bundle(tmp_path / "bundle")
    assert bundle.card == {}
    assert bundle.tensors("none") == {}
    assert bundle.frame("no_columns").shape == (0, 0)
    assert_frame_equal(bundle.frame("no_rows"), FRAME.clear())
    assert bundle.json("null") is None


def test_the_card_can_be_filled_while_writing(tmp_path: Path) -> None:
    card: dict[str, Any] = {}
    with write_bundle(tmp_path / "bundle", card=card):
        card["late"] = 1
    assert open_bundle(tmp_path / "bundle").card == {"late": 1}


def test_a_link_to_a_bundle_opens(path: Path, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to("bundle")
    assert open_bundle(tmp_path / "latest").card == {"recall@10": 1.0}


# ------------------------------------------------------------------------------------------------------ what was changed


FILES = ["model.safetensors", "spec.json", "items.parquet", "manifest.json", "manifest.sha256"]


@pytest.mark.parametrize("file", FILES)
def test_no_byte_can_change(path: Path, file: str) -> None:
    data = (path / file).read_bytes()
    positions = range(0, len(data), max(1, len(data) // 60))
    for position in [*positions, len(data) - 1]:
        changed = bytearray(data)
        changed[position] ^= 0x04
        (path / file).write_bytes(changed)
        with pytest.raises(CorruptBundleError, match=r"has changed since it was written: .* does not match; write"):
            open_bundle(path)
    (path / file).write_bytes(data)
    open_bundle(path)


@pytest.mark.parametrize("file", FILES)
def test_no_file_can_be_cut_emptied_prolonged_or_missing(path: Path, file: str) -> None:
    data = (path / file).read_bytes()
    for changed in (data[:-1], data[: len(data) // 2], b"", data + b"\n", data + b"\x00"):
        (path / file).write_bytes(changed)
        with pytest.raises(BundleError, match=re_any(file)):
            open_bundle(path)
    (path / file).unlink()
    with pytest.raises(BundleError, match=re_any(file)):
        open_bundle(path)


def re_any(file: str) -> str:
    """The message names the file (of a changed checksum: the manifest too)."""
    return file.replace(".", r"\.")


def test_the_size_is_said_when_it_differs(path: Path) -> None:
    (path / "spec.json").write_text("{}\n")
    with pytest.raises(
        CorruptBundleError, match=r"spec\.json must have 52 bytes, and has 3; write the bundle again or fetch it"
    ):
        open_bundle(path)


def test_a_missing_part_is_named(path: Path) -> None:
    (path / "spec.json").unlink()
    with pytest.raises(CorruptBundleError, match=r"bundle lacks spec\.json;"):
        open_bundle(path)


def test_a_manifest_without_its_checksum(path: Path) -> None:
    (path / "manifest.sha256").unlink()
    with pytest.raises(CorruptBundleError, match=r"manifest\.sha256 is missing: the bundle is not whole"):
        open_bundle(path)


def test_a_part_of_megabytes(tmp_path: Path) -> None:
    with write_bundle(tmp_path / "bundle") as writer:
        writer.json("long", "x" * 2_500_000)
    bundle = open_bundle(tmp_path / "bundle")
    assert bundle.manifest.parts["long"].size_bytes == 2_500_003
    assert bundle.json("long") == "x" * 2_500_000


def test_a_changed_card_is_noticed(path: Path) -> None:
    text = (path / "manifest.json").read_text()
    (path / "manifest.json").write_text(text.replace('"recall@10": 1.0', '"recall@10": 9.0'))
    with pytest.raises(CorruptBundleError, match=r"manifest\.json has changed since it was written"):
        open_bundle(path)


@pytest.mark.parametrize("name", ["weights.pkl", ".hidden", "spec.json.bak", "model.pt", "run.py"])
def test_a_file_that_is_not_listed_is_refused_by_name(path: Path, name: str) -> None:
    (path / name).write_text("x")
    with pytest.raises(CorruptBundleError, match=rf"bundle/{re_any(name)} is not one of the bundle's files"):
        open_bundle(path)


def test_a_folder_inside_is_refused(path: Path) -> None:
    (path / "__pycache__").mkdir()
    with pytest.raises(CorruptBundleError, match="__pycache__ is not one of the bundle's files"):
        open_bundle(path)


@pytest.mark.parametrize("file", FILES)
def test_a_link_in_the_place_of_a_file_is_refused(path: Path, tmp_path: Path, file: str) -> None:
    shutil.move(path / file, tmp_path / "elsewhere")
    (path / file).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CorruptBundleError, match=rf"{re_any(file)} must be a plain file, not a link or a folder"):
        open_bundle(path)


def test_a_folder_or_a_pipe_in_the_place_of_a_file_is_refused(path: Path) -> None:
    (path / "spec.json").unlink()
    (path / "spec.json").mkdir()
    with pytest.raises(CorruptBundleError, match=r"spec\.json must be a plain file"):
        open_bundle(path)
    (path / "spec.json").rmdir()
    os.mkfifo(path / "spec.json")
    with pytest.raises(CorruptBundleError, match=r"spec\.json must be a plain file"):
        open_bundle(path)


# ------------------------------------------------------------------------------------ manifests that are signed and wrong


def test_a_newer_format_says_what_to_do(path: Path) -> None:
    resign(path, lambda values: values.update(format_version=2, library_version="9.9", new_key=1))
    with pytest.raises(
        IncompatibleBundleError,
        match=rf"is in version 2 of the format, written by twotower 9\.9; this is twotower {__version__}, "
        "which reads up to version 1: upgrade twotower",
    ):
        open_bundle(path)


@pytest.mark.parametrize("file", ["../secret.json", "/etc/passwd", "deep/spec.json", "spec.pkl"])
def test_a_path_that_leaves_the_folder_is_refused(path: Path, file: str) -> None:
    (path.parent / "secret.json").write_bytes((path / "spec.json").read_bytes())
    resign(path, lambda values: values["parts"]["spec"].update(file=file))
    with pytest.raises(
        CorruptBundleError, match=r"manifest\.json: parts?.*parts do not leave the folder|do not leave the folder"
    ):
        open_bundle(path)


def test_an_unknown_kind_is_refused(path: Path) -> None:
    resign(path, lambda values: values["parts"]["spec"].update(kind="pickle"))
    with pytest.raises(CorruptBundleError, match=r"parts\.spec\.kind: input should be 'tensors', 'json' or 'frame'"):
        open_bundle(path)


@pytest.mark.parametrize("version", [0, -1, "1", None, True, 1.5])
def test_a_version_that_never_was(path: Path, version: object) -> None:
    resign(path, lambda values: values.update(format_version=version))
    with pytest.raises(CorruptBundleError, match="format_version"):
        open_bundle(path)


def test_another_format(path: Path) -> None:
    resign(path, lambda values: values.update(format="other"))
    with pytest.raises(
        BundleError, match=r"must say format 'twotower-bundle' \(came: 'other'\); this is not a bundle of twotower"
    ):
        open_bundle(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", r"must say format 'twotower-bundle' \(came: 'list'\)"),
        ("not json", "must be JSON, and is not"),
        ('{"format": "twotower-bundle", "card": {"a": NaN}}', "NaN is not JSON"),
        ('{"format": "twotower-bundle"}', "library_version: is required"),
        ("", "must be JSON"),
    ],
)
def test_a_manifest_that_is_none(path: Path, text: str, message: str) -> None:
    (path / "manifest.json").write_text(text)
    (path / "manifest.sha256").write_text(f"{hashlib.sha256(text.encode()).hexdigest()}  manifest.json\n")
    with pytest.raises(BundleError, match=message):
        open_bundle(path)


@pytest.mark.parametrize(
    ("file", "name", "data", "message"),
    [
        ("model.safetensors", "model", b"\x80\x04N.", r"model\.safetensors must be a whole safetensors file"),
        ("spec.json", "spec", b"[NaN]", r"spec\.json must be JSON, and is not: NaN"),
        ("items.parquet", "items", b"PAR1", r"items\.parquet must be Parquet, and is not"),
    ],
)
def test_a_part_that_is_signed_and_unreadable(path: Path, file: str, name: str, data: bytes, message: str) -> None:
    (path / file).write_bytes(data)
    resign(path, lambda values: values["parts"][name].update(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data)))
    bundle = open_bundle(path)
    read: dict[str, Callable[[str], object]] = {"model": bundle.tensors, "spec": bundle.json, "items": bundle.frame}
    with pytest.raises(CorruptBundleError, match=message):
        read[name](name)


# --------------------------------------------------------------------------------------------------------------- reading


def test_no_bundle_there(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="none must be the folder of a bundle, and does not exist; check the path"):
        open_bundle(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(BundleError, match="file must be the folder of a bundle, and is a file"):
        open_bundle(tmp_path / "file")
    with pytest.raises(BundleError, match=r"has no manifest\.json, so it is not a bundle"):
        open_bundle(tmp_path)


def test_no_permission(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *_: object) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(BundleError, match=r"manifest\.json can't be read: Permission denied; check its permissions"):
        open_bundle(path)


def test_no_permission_for_a_part(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_file = Path.open

    def refuse(self: Path, *args: Any, **named: Any) -> Any:
        if self.name == "spec.json":
            raise PermissionError(13, "Permission denied", str(self))
        return open_file(self, *args, **named)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(BundleError, match=r"spec\.json can't be read: Permission denied; check its permissions"):
        open_bundle(path)


def test_a_part_that_is_not_there_or_of_another_kind(path: Path) -> None:
    bundle = open_bundle(path)
    with pytest.raises(BundleError, match=r"has no part 'modle'; did you mean 'model'\?"):
        bundle.tensors("modle")
    with pytest.raises(BundleError, match=r"part 'spec' of .* is of kind 'json', and was read as 'tensors'"):
        bundle.tensors("spec")


@pytest.mark.parametrize(("name", "file"), [("model", "model.safetensors"), ("spec", "spec.json"), ("items", "items.parquet")])
def test_a_part_that_changes_after_opening(path: Path, name: str, file: str) -> None:
    bundle = open_bundle(path)
    read: dict[str, Callable[[str], object]] = {"model": bundle.tensors, "spec": bundle.json, "items": bundle.frame}
    changed = bytearray((path / file).read_bytes())
    changed[len(changed) // 2] ^= 1
    (path / file).write_bytes(changed)
    with pytest.raises(CorruptBundleError, match="has changed since the bundle was opened; open it again"):
        read[name](name)
    (path / file).unlink()
    with pytest.raises(BundleError, match="can't be read: No such file"):
        read[name](name)


def test_a_bundle_that_is_replaced_while_it_is_opened(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest, times = bundle_module._digest, 0

    def replace_once(part: Path) -> tuple[str, int]:
        nonlocal times
        times += 1
        if times == 1:
            with monkeypatch.context() as patch:
                patch.setattr(bundle_module, "_digest", digest)
                write(path, scale=2.0)
        return digest(part)

    monkeypatch.setattr(bundle_module, "_digest", replace_once)
    assert open_bundle(path).card == {"recall@10": 2.0}


def test_a_bundle_that_is_replaced_all_the_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest, times = bundle_module._digest, 0

    def replace(part: Path) -> tuple[str, int]:
        nonlocal times
        times += 1
        with monkeypatch.context() as patch:
            patch.setattr(bundle_module, "_digest", digest)
            write(path, scale=times + 1.0)
        return digest(part)

    monkeypatch.setattr(bundle_module, "_digest", replace)
    with pytest.raises(BundleError, match="was replaced 20 times while it was being opened"):
        open_bundle(path)
    assert times == 20


def test_what_a_writer_that_died_left_opens(path: Path) -> None:
    path.rename(path.parent / ".bundle.previous")
    assert open_bundle(path).json("spec") == {"scale": 1.0, "ids": ["a", "b"]}


# --------------------------------------------------------------------------------------------------------------- writing


def write_and_fail(path: Path) -> None:
    with write_bundle(path) as writer:
        writer.json("spec", {})
        raise KeyError("x")


def test_a_second_bundle_replaces_the_first(path: Path) -> None:
    with write_bundle(path, card={"second": True}) as writer:
        writer.json("only", 2)
        assert open_bundle(path).card == {"recall@10": 1.0}
    bundle = open_bundle(path)
    assert (bundle.names, bundle.card) == (("only",), {"second": True})
    assert [entry.name for entry in path.parent.iterdir()] == ["bundle"]


def test_an_interrupted_write_never_loads(path: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        write_and_fail(path)
    assert open_bundle(path).card == {"recall@10": 1.0}
    with pytest.raises(KeyError):
        write_and_fail(tmp_path / "new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["bundle"]


def test_what_is_being_written_is_not_a_bundle_yet(tmp_path: Path) -> None:
    with write_bundle(tmp_path / "bundle") as writer:
        writer.json("spec", {})
        (unfinished,) = tmp_path.iterdir()
        with pytest.raises(BundleError, match=r"has no manifest\.json"):
            open_bundle(unfinished)


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("x")
    with (
        pytest.raises(BundleError, match="home is a folder with other files, and is left alone; write the bundle elsewhere"),
        write_bundle(tmp_path / "home"),
    ):
        pass
    assert (tmp_path / "home" / "thesis.tex").read_text() == "x"
    (tmp_path / "empty").mkdir()
    with write_bundle(tmp_path / "empty"):
        pass
    open_bundle(tmp_path / "empty")


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(BundleError, match="file is a file, and a folder was to be written there"),
        write_bundle(tmp_path / "file"),
    ):
        pass


def test_a_card_that_json_can_not_hold(path: Path) -> None:
    with (
        pytest.raises(BundleError, match=r"manifest\.json: card\.loss must be a finite number .*came: nan"),
        write_bundle(path, card={"loss": float("nan")}),
    ):
        pass
    assert open_bundle(path).card == {"recall@10": 1.0}


@pytest.mark.parametrize("name", ["", "a/b", "../a", "A", "a.b", "manifest"])
@pytest.mark.parametrize("kind", ["tensors", "json", "frame"])
def test_names_of_parts_are_simple(tmp_path: Path, name: str, kind: str) -> None:
    with write_bundle(tmp_path / "bundle") as writer, pytest.raises(ValueError, match="name"):
        add(writer, kind, name)
    assert open_bundle(tmp_path / "bundle").names == ()


def add(writer: BundleWriter, kind: str, name: str) -> None:
    if kind == "tensors":
        writer.tensors(name, {})
    elif kind == "json":
        writer.json(name, {})
    else:
        writer.frame(name, pl.DataFrame())


def test_a_name_can_not_come_twice(tmp_path: Path) -> None:
    with write_bundle(tmp_path / "bundle") as writer:
        writer.json("spec", 1)
        for kind in ("tensors", "json", "frame"):
            with pytest.raises(ValueError, match="every part has a name of its own; 'spec' came twice"):
                add(writer, kind, "spec")
    assert open_bundle(tmp_path / "bundle").json("spec") == 1


def test_nothing_can_be_added_later(path: Path) -> None:
    with write_bundle(path) as writer:
        pass
    for kind in ("tensors", "json", "frame"):
        with pytest.raises(ValueError, match="part 'late' came after the bundle was closed"):
            add(writer, kind, "late")
    open_bundle(path)


@pytest.mark.parametrize("kind", ["tensors", "json", "frame"])
def test_a_full_disk(path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(BundleError, match=r"spec.* can't be written: .*No space left"), write_bundle(path) as writer:
        add(writer, kind, "spec")
    assert open_bundle(path).card == {"recall@10": 1.0}


def test_values_that_a_part_can_not_hold(tmp_path: Path) -> None:
    with write_bundle(tmp_path / "bundle") as writer:
        with pytest.raises(BundleError, match=r"part 'a': x must be a finite number"):
            writer.json("a", {"x": float("inf")})
        with pytest.raises(BundleError, match="part 'b': column 'o' holds Python objects"):
            writer.frame("b", pl.DataFrame({"o": pl.Series([object()], dtype=pl.Object)}))
    assert open_bundle(tmp_path / "bundle").names == ()
