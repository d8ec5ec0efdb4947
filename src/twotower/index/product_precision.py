"""How much of a float32 a matrix product keeps: what the process has asked for."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch

__all__ = ["ProductPrecision", "product_precision"]

ProductPrecision: TypeAlias = Literal["highest", "high", "medium"]
"""As `torch.set_float32_matmul_precision` has it: ``highest`` whole, ``high`` at least TF32, ``medium`` at least bfloat16."""

_OF_BACKENDS: dict[str, ProductPrecision] = {"none": "highest", "ieee": "highest", "tf32": "high"}


def product_precision(device: torch.device) -> ProductPrecision:
    """What products of float32 keep on a device, as it is set now.

    There are two ways to set it, and torch refuses to answer the older question once both were used; the newer one can be asked
    of every device that it is known for. Where neither answers, ``medium`` does, the least of them.
    """
    backends = {"cuda": torch.backends.cuda.matmul, "cpu": torch.backends.mkldnn.matmul}  # type: ignore[attr-defined]
    try:
        found: ProductPrecision = torch.get_float32_matmul_precision()  # type: ignore[assignment]
    except RuntimeError:
        found = "highest" if device.type in backends else "medium"
    if device.type not in backends:
        return found
    own = _OF_BACKENDS.get(str(backends[device.type].fp32_precision), "medium")
    return max(found, own, key=["highest", "high", "medium"].index)
