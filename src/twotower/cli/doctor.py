"""``twotower doctor``."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import torch

import twotower
from twotower.cache_root import cache_root
from twotower.cli.machine import cpu_quota, others_running
from twotower.cli.output import print_json, print_table
from twotower.native import kernel_names, native_status

__all__ = ["doctor_command"]

_NEEDED = ("torch", "numpy", "polars", "pyarrow", "pydantic", "safetensors", "tokenizers", "typer", "rich")
_EXTRAS = {
    "pandas": "pandas",
    "tensorboard": "tensorboard",
    "baselines": "implicit",
    "report": "matplotlib",
    "serve": "granian",
    "ann": "faiss-cpu",
    "onnx": "onnxruntime",
    "tune": "optuna",
}


def doctor_command(*, as_json: bool) -> None:
    """Print what this installation has."""
    quota = cpu_quota()
    facts = {
        "twotower": twotower.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: _version(name) for name in _NEEDED},
        **{f"extra {extra}": _version(package) for extra, package in _EXTRAS.items()},
        "cores": str(os.cpu_count()),
        "CPU quota": "none" if quota is None else f"{quota:g}",
        "others running": f"{others_running():g}",
        "torch threads": str(torch.get_num_threads()),
        **{name: os.environ.get(name, "not set") for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY")},
        "kernels": _kernels(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "mps": "yes" if torch.backends.mps.is_available() else "none",
    }
    if as_json:
        print_json(facts)
    else:
        print_table("", ["what", "found"], [[name, value] for name, value in facts.items()], left=["what", "found"])


def _kernels() -> str:
    """Which kernels in C are there; those that are not compiled yet are now."""
    missing = {name: status for name in kernel_names() if not (status := native_status(name)).available}
    if not missing:
        return f"{len(kernel_names())} compiled, in {cache_root() / 'native'}"
    reasons = "; ".join(sorted({status.detail for status in missing.values()}))
    return f"without {', '.join(missing)}, whose work torch and numpy do, and slower: {reasons}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
