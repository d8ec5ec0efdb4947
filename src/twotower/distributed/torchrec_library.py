"""TorchRec and FBGEMM, of the extra ``distributed``: the one file that imports them."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch

from twotower.errors import MissingExtraError

__all__ = ["quiet_torchrec", "torchrec_library"]

_INSTALL = "pip install 'twotower[distributed]'; without CUDA see docs/distributed.md"
_FBGEMM = ("fbgemm-gpu", "fbgemm-gpu-cpu")


@functools.cache
def torchrec_library() -> Any:
    """What is used of TorchRec and FBGEMM, by the names that they have there.

    TorchRec divides the gradients of sharded tables by the number of ranks unless it is told not to. Here losses of ranks are
    summed, so it is told not to, for the whole process.

    Raises:
        MissingExtraError: If one of them is not installed, or of a version that does not go with torch's.
    """
    _check_versions(torch.__version__, _installed("torchrec"), {name: _installed(name) for name in _FBGEMM})
    with quiet_torchrec():
        found = SimpleNamespace(
            **_names("torchrec", "EmbeddingCollection", "KeyedJaggedTensor"),
            **_names("torchrec.modules.embedding_configs", "EmbeddingConfig"),
            **_names("torchrec.distributed.embedding", "EmbeddingCollectionSharder"),
            **_names("torchrec.distributed.types", "ShardingEnv"),
            **_names("torchrec.distributed.comm_ops", "get_gradient_division", "set_gradient_division"),
            **_names("torchrec.distributed.sharding_plan", "construct_module_sharding_plan", "row_wise", "table_wise"),
            **_names("torchrec.distributed.planner", "EmbeddingShardingPlanner", "Topology"),
            **_names("torchrec.distributed.planner.types", "ParameterConstraints", "PlannerError"),
            **_names("torchrec.distributed.planner.storage_reservations", "FixedPercentageStorageReservation"),
            **_names("fbgemm_gpu.split_embedding_configs", "EmbOptimType"),
        )
        # torch says once a process, by its log, what TorchRec should call instead
        say = getattr(importlib.import_module("torch.fx._symbolic_trace"), "is_fx_tracing_warning", None)
        if say is not None:
            say()
    found.set_gradient_division(False)
    return found


@contextmanager
def quiet_torchrec() -> Iterator[None]:
    """Within the block, what TorchRec and FBGEMM warn of about themselves is not shown."""
    loggers = [logging.getLogger(name) for name in ("torchrec", "torch.fx._symbolic_trace")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _names(module: str, *names: str) -> dict[str, Any]:
    found = importlib.import_module(module)
    return {name: getattr(found, name) for name in names}


def _installed(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _check_versions(torch_version: str, torchrec: str | None, fbgemm: dict[str, str | None]) -> None:
    """Torchrec 1.X and FBGEMM 1.X are made for torch 2.(X+5), and load, or crash, with no other."""
    minor = int(torch_version.split(".")[1])
    wanted = f"1.{minor - 5}"
    of_fbgemm = {name: version for name, version in fbgemm.items() if version is not None}
    if torchrec is None or not of_fbgemm:
        missing = "torchrec" if torchrec is None else "fbgemm-gpu (or fbgemm-gpu-cpu)"
        raise MissingExtraError(f"sharded tables need {missing}, which is not installed: {_INSTALL}")
    wrong = [
        f"{name} {version}"
        for name, version in {"torchrec": torchrec, **of_fbgemm}.items()
        if version.split(".")[:2] != wanted.split(".")
    ]
    if wrong or not torch_version.startswith("2."):
        raise MissingExtraError(
            f"torchrec 1.X and fbgemm-gpu 1.X go with torch 2.(X+5): torch {torch_version} needs {wanted}.* of both, and "
            f"installed is {' and '.join(wrong)}: pip install 'torchrec=={wanted}.*'; without CUDA see docs/distributed.md"
        )
