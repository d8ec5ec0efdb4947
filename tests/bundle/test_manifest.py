from __future__ import annotations

from typing import Any

import pytest

from twotower.bundle import FORMAT, FORMAT_VERSION, Manifest, Part
from twotower.bundle.manifest import name_fault, part_file
from twotower.config import parse_config
from twotower.errors import ConfigError

PART = {"kind": "json", "file": "spec.json", "sha256": "0" * 64, "size_bytes": 3}
VALUES = {
    "format": "twotower-bundle",
    "format_version": 1,
    "library_version": "0.1.0",
    "created_at": "2026-01-02T03:04:05+00:00",
    "parts": {"spec": PART},
    "card": {"recall@10": 0.1, "recipe": {"ks": [10, None, True, "x"]}},
}


def test_the_format_as_it_is_on_disk() -> None:
    manifest = parse_config(Manifest, VALUES)
    assert manifest.model_dump(mode="json") == VALUES
    assert manifest.parts["spec"] == Part(kind="json", file="spec.json", sha256="0" * 64, size_bytes=3)
    assert (FORMAT, FORMAT_VERSION) == ("twotower-bundle", 1)


@pytest.mark.parametrize(
    ("kind", "file"), [("json", "items.json"), ("tensors", "items.safetensors"), ("frame", "items.parquet")]
)
def test_a_part_of_each_kind_has_its_file(kind: Any, file: str) -> None:
    assert part_file("items", kind) == file
    values = VALUES | {"parts": {"items": PART | {"kind": kind, "file": file}}}
    assert parse_config(Manifest, values).parts["items"].file == file


@pytest.mark.parametrize(
    "file",
    [
        "/etc/passwd",
        "../spec.json",
        "..",
        "./spec.json",
        "deep/spec.json",
        "deep\\spec.json",
        "C:\\spec.json",
        "spec.json\x00",
        "SPEC.json",
        "spec.pkl",
        "other.json",
        "manifest.json",
        "",
    ],
)
def test_a_path_that_is_not_the_file_of_the_part_is_refused(file: str) -> None:
    with pytest.raises(
        ConfigError, match=r"the file of part 'spec' must be 'spec.json', not .*: parts do not leave the folder"
    ):
        parse_config(Manifest, VALUES | {"parts": {"spec": PART | {"file": file}}})


@pytest.mark.parametrize("name", ["", "../spec", "a/b", "Spec", "a.b", "a b", "é", "a\n", "-a", "²"])
def test_names_of_parts_are_simple(name: str) -> None:
    assert name_fault(name) is not None
    with pytest.raises(ConfigError, match="the name of a part must be lower-case letters, digits and underscores"):
        parse_config(Manifest, VALUES | {"parts": {name: PART | {"file": f"{name}.json"}}})


def test_the_name_of_the_manifest_is_taken() -> None:
    assert name_fault("spec_2") is None
    with pytest.raises(ConfigError, match="the name 'manifest' is taken"):
        parse_config(Manifest, VALUES | {"parts": {"manifest": PART | {"file": "manifest.json"}}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "pickle"}, "input should be 'tensors', 'json' or 'frame'"),
        ({"sha256": "0" * 63}, "string should match pattern"),
        ({"sha256": "A" * 64}, "string should match pattern"),
        ({"sha256": "0" * 64 + "\n"}, "string should match pattern"),
        ({"size_bytes": -1}, "greater than or equal to 0"),
        ({"size_bytes": 1.0}, "valid integer"),
        ({"size_bytes": "3"}, "valid integer"),
        ({"mode": "x"}, "unknown key"),
    ],
)
def test_what_a_part_may_say(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(Manifest, VALUES | {"parts": {"spec": PART | change}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "format: input should be 'twotower-bundle'"),
        ({"format_version": 0}, "format_version: input should be greater than or equal to 1"),
        ({"format_version": 2}, "format_version: input should be less than or equal to 1"),
        ({"format_version": True}, "format_version: input should be a valid integer"),
        ({"format_version": "1"}, "format_version: input should be a valid integer"),
        ({"card": []}, "^card: .*came: "),
        ({"extra": 1}, "extra: unknown key"),
    ],
)
def test_what_a_manifest_may_say(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(Manifest, VALUES | change)


@pytest.mark.parametrize("key", ["library_version", "created_at", "parts", "card"])
def test_what_a_manifest_must_say(key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: is required"):
        parse_config(Manifest, {name: value for name, value in VALUES.items() if name != key})
