"""What a bundle says about itself: its format, its parts with their checksums, and its card."""

from __future__ import annotations

import re
from typing import Final, Literal, Self, TypeAlias

from pydantic import Field, JsonValue, StrictInt, field_validator, model_validator

from twotower.config import Config

__all__ = ["FORMAT", "FORMAT_VERSION", "Manifest", "Part", "PartKind", "part_file"]

FORMAT: Final = "twotower-bundle"
"""What ``manifest.json`` of every bundle says it is."""

FORMAT_VERSION: Final = 1
"""The newest version of the format that this library reads, and the one that it writes."""

PartKind: TypeAlias = Literal["tensors", "json", "frame"]
"""Named tensors (safetensors), a JSON value, or a table (Parquet)."""

_SUFFIXES: Final[dict[PartKind, str]] = {"tensors": ".safetensors", "json": ".json", "frame": ".parquet"}
_NAME = re.compile(r"[a-z0-9_]+")
_TAKEN = "manifest"


class Part(Config):
    """One file of a bundle.

    Attributes:
        kind: What the file holds.
        file: Its name in the bundle's folder.
        sha256: SHA-256 of its bytes, in lower-case hexadecimal.
        size_bytes: How many bytes it has.
    """

    kind: PartKind
    file: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: StrictInt = Field(ge=0)


class Manifest(Config):
    """The contents of ``manifest.json``.

    Attributes:
        format: ``twotower-bundle``.
        format_version: Counts up when an older library could not read the bundle.
        library_version: The version of twotower that wrote it.
        created_at: When it was written: ISO 8601, UTC.
        parts: The files by the name of the part.
        card: What the writer says about the contents, such as the recipe and the metrics.
    """

    format: Literal["twotower-bundle"] = FORMAT
    format_version: StrictInt = Field(default=FORMAT_VERSION, ge=1, le=FORMAT_VERSION)
    library_version: str
    created_at: str
    parts: dict[str, Part]
    card: dict[str, JsonValue]

    @field_validator("parts")
    @classmethod
    def _names_are_simple(cls, parts: dict[str, Part]) -> dict[str, Part]:
        for name in parts:
            fault = name_fault(name)
            if fault:
                raise ValueError(fault)
        return parts

    @model_validator(mode="after")
    def _files_are_named_after_parts(self) -> Self:
        # the one form that is accepted leaves no room for absolute paths, parents and folders
        for name, part in self.parts.items():
            expected = part_file(name, part.kind)
            if part.file != expected:
                raise ValueError(
                    f"the file of part {name!r} must be {expected!r}, not {part.file!r}: parts do not leave the folder"
                )
        return self


def part_file(name: str, kind: PartKind) -> str:
    """The file that a part is in.

    Example:
        >>> part_file("items", "frame")
        'items.parquet'
    """
    return f"{name}{_SUFFIXES[kind]}"


def name_fault(name: str) -> str | None:
    """What is wrong with the name of a part; None when it may be used."""
    if not _NAME.fullmatch(name):
        return f"the name of a part must be lower-case letters, digits and underscores (came: {name!r})"
    if name == _TAKEN:
        return f"the name {_TAKEN!r} is taken by the manifest itself; choose another name"
    return None
