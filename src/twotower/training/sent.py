"""Batches that were made on the host, on their way to an accelerator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from twotower.data.batches import Batch
from twotower.types import sent

__all__ = ["sent_batch"]


def sent_batch(batch: Batch, device: torch.device) -> Batch:
    """A batch on a device, all of it, which the host does not wait for where that can be had; itself where it is there."""
    return replace(batch, **{part.name: _sent(getattr(batch, part.name), device) for part in fields(batch)})


def _sent(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return sent(value, device)
    if isinstance(value, Mapping):
        return {name: _sent(each, device) for name, each in value.items()}
    if isinstance(value, tuple):
        parts = [_sent(each, device) for each in value]
        return type(value)._make(parts) if hasattr(value, "_make") else tuple(parts)
    return value
