"""An export to ONNX: two graphs, the vocabularies that they need, and what somebody has to know who runs them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import twotower
from twotower.bundle import JSON, atomic_folder, parse_json, remove_leftovers, write_json
from twotower.errors import ConfigError, TwotowerError
from twotower.export.graph import check_opset, onnx_version
from twotower.export.layers import require_exportable
from twotower.export.parity import check_candidates, check_queries
from twotower.export.place import require_free
from twotower.export.session import onnxruntime_version
from twotower.export.signature import FORMAT, Signature, TowerSignature, Versions
from twotower.export.tower import write_tower
from twotower.export.vocabularies import Vocabularies
from twotower.models import ModelBuilder, build, builder_name
from twotower.preprocessing import FittedFeature, FittedHistory
from twotower.recommender import Recommender, bundle_folder

__all__ = ["LARGEST_ERROR", "OnnxExport", "export_onnx"]

LARGEST_ERROR = 1e-4
"""A number of a vector may differ by so much, or by a hundred-thousandth of the vector's largest number, where that is more."""

_SIGNATURE = "signature.json"


@dataclass(frozen=True)
class OnnxExport:
    """What was written.

    Attributes:
        folder: Where.
        signature: What its ``signature.json`` says.
        size_bytes: Of all files.
    """

    folder: Path
    signature: Signature
    size_bytes: int


def export_onnx(
    run: str | Path,
    out: str | Path,
    *,
    opset: int = 17,
    check_rows: int = 1_000,
    builder: ModelBuilder = build,
    listener: Callable[[str], None] = lambda _: None,
) -> OnnxExport:
    """Write the towers of a run as ONNX files, with their numeric preprocessing, and try them beside the bundle.

    The folder has ``query_tower.onnx``, ``candidate_tower.onnx``, ``signature.json`` and the folder ``vocabulary``; see
    `twotower.export.Signature`. It is there whole, or not at all.

    Args:
        run: A run folder, or a bundle.
        out: The folder; an earlier export there is replaced.
        opset: Of ONNX, at least 17.
        check_rows: Known users, and items, that are encoded by both; variants of some of them come in addition.
        builder: What built the model, where it was one of your own.
        listener: Told what is done next.

    Raises:
        ConfigError: If the opset is not one that can be written, the folder holds something else, or the model has a part that
            is not known in ONNX, such as a module of one's own.
        BundleError: If there is no bundle, or it is damaged.
        ExportError: If a number of a vector differs by more than 1e-4 (of vectors with numbers above 10: by more than a
            hundred-thousandth of the largest).
        MissingExtraError: If ``onnx`` or ``onnxruntime`` is not installed.
    """
    target = Path(out)
    check_opset(opset)
    onnxruntime_version()
    if check_rows < 1:
        raise ConfigError(f"check_rows: must be at least 1; came {check_rows}")
    require_free(target, _SIGNATURE, FORMAT)
    folder = bundle_folder(run)
    _require_builder(folder, builder)
    manifest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    recommender = Recommender.load(folder, builder=builder)
    require_exportable(recommender.model)
    versions = Versions(twotower=twotower.__version__, onnx=onnx_version(), onnxruntime=onnxruntime_version(), opset=opset)
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target.parent)
    with atomic_folder(target) as temporary:
        listener("writing the towers")
        query, candidate = _write_towers(temporary, recommender, manifest, opset=opset)
        listener("trying the query tower")
        queries = check_queries(temporary, query, recommender, rows=check_rows, limit=LARGEST_ERROR)
        listener("trying the candidate tower")
        candidates = check_candidates(temporary, candidate, recommender, rows=check_rows, limit=LARGEST_ERROR)
        signature = Signature(
            manifest_sha256=manifest,
            versions=versions,
            query=query.model_copy(update={"checked_rows": queries.rows, "largest_error": queries.largest_error}),
            candidate=candidate.model_copy(update={"checked_rows": candidates.rows, "largest_error": candidates.largest_error}),
        )
        write_json(temporary / _SIGNATURE, signature.model_dump(mode="json"))
        size = sum(path.stat().st_size for path in temporary.rglob("*") if path.is_file())
    return OnnxExport(target, signature, size)


def _write_towers(
    folder: Path, recommender: Recommender, manifest: str, *, opset: int
) -> tuple[TowerSignature, TowerSignature]:
    spec, model, catalogue = recommender.preprocessor.spec, recommender.model, recommender.catalogue.ids
    by_name: dict[str, FittedFeature | FittedHistory] = {
        feature.config.output_name: feature for feature in (*spec.user, *spec.context, *spec.history)
    }
    vocabularies = Vocabularies(folder)
    properties = {"twotower": twotower.__version__, "manifest_sha256": manifest, "signature": _SIGNATURE}
    query = write_tower(
        folder / "query_tower.onnx",
        model.query,
        [by_name[name] for name in spec.query_order],
        id_column=spec.user_column,
        stand_ins=recommender.stand_ins,
        catalogue=catalogue,
        vocabularies=vocabularies,
        opset=opset,
        properties=properties,
        items_ND=recommender.item_vectors_ND.numpy(),
    )
    candidate = write_tower(
        folder / "candidate_tower.onnx",
        model.candidate,
        spec.candidate,
        id_column=spec.item_column,
        stand_ins={},
        catalogue=catalogue,
        vocabularies=vocabularies,
        opset=opset,
        properties=properties,
    )
    return query, candidate


def _require_builder(folder: Path, builder: ModelBuilder) -> None:
    """Say of a model of one's own that it can't be exported, rather than that its builder is missing.

    Raises:
        ConfigError: Naming the builder.
    """
    try:
        model: JSON = parse_json((folder / "model.json").read_bytes(), source="model.json")
    except (OSError, TwotowerError):
        return  # loading says what is wrong with it
    built_by = model.get("builder") if isinstance(model, dict) else None
    if isinstance(built_by, str) and built_by != builder_name(builder):
        raise ConfigError(
            f"the model was built by {built_by}, a builder of your own, and not by {builder_name(builder)}: an ONNX export "
            "knows the towers of twotower.models.build only; write such towers with torch.onnx"
        )
