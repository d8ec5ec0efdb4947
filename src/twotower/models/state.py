"""A model's weights as named tensors, each once, and back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from twotower.errors import BundleError

__all__ = ["load_state", "state_of"]


def state_of(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name; what two parts share is there once. The tensors are the module's own, not copies."""
    state = {name: parameter.detach() for name, parameter in module.named_parameters()}
    state.update({name: buffer.detach() for name, buffer in module.named_buffers()})
    return state


def load_state(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy weights into a module built from the same spec.

    Raises:
        BundleError: If a name or a shape differs; nothing is copied then.
    """
    own = state_of(module)
    faults = [f"{name} is missing" for name in own.keys() - state.keys()]
    faults += [f"{name} is not in the model" for name in state.keys() - own.keys()]
    faults += [
        f"{name} has shape {list(state[name].shape)}, the model's is {list(own[name].shape)}"
        for name in own.keys() & state.keys()
        if own[name].shape != state[name].shape
    ]
    if faults:
        raise BundleError(f"the weights do not fit the model: {'; '.join(sorted(faults))}")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(state[name])
