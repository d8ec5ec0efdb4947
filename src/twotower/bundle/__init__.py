"""Folders and files that are written whole, checked when read, and run nothing: manifests, checksums, safetensors, Parquet."""

from twotower.bundle.atomic import (
    atomic_file,
    atomic_folder,
    remove_leftovers,
    resolve_folder,
    write_bytes,
    write_json,
    write_text,
)
from twotower.bundle.bundle import Bundle, BundleWriter, open_bundle, write_bundle
from twotower.bundle.manifest import FORMAT, FORMAT_VERSION, Manifest, Part, PartKind
from twotower.bundle.published import (
    Current,
    activate,
    current_version,
    is_published,
    publish,
    roll_back,
    version_folder,
    versions,
)
from twotower.bundle.streamed_tensors import TensorStream
from twotower.bundle.strict_json import JSON, dump_json, parse_json
from twotower.bundle.tensors import parse_tensors, read_tensors, write_tensors

__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "JSON",
    "Bundle",
    "BundleWriter",
    "Current",
    "Manifest",
    "Part",
    "PartKind",
    "TensorStream",
    "activate",
    "atomic_file",
    "atomic_folder",
    "current_version",
    "dump_json",
    "is_published",
    "open_bundle",
    "parse_json",
    "parse_tensors",
    "publish",
    "read_tensors",
    "remove_leftovers",
    "resolve_folder",
    "roll_back",
    "version_folder",
    "versions",
    "write_bundle",
    "write_bytes",
    "write_json",
    "write_tensors",
    "write_text",
]
