from __future__ import annotations

import pytest
import torch

from twotower.errors import ConfigError
from twotower.training import DeviceName, resolve_device


def machine(monkeypatch: pytest.MonkeyPatch, *, cuda: bool, mps: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")])
def test_auto_takes_the_fastest_there_is(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, expected: str) -> None:
    machine(monkeypatch, cuda=cuda, mps=mps)
    assert resolve_device("auto") == torch.device(expected)
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, name: DeviceName) -> None:
    machine(monkeypatch, cuda=False, mps=False)
    with pytest.raises(ConfigError, match=f"device {name}: .* none; use --device auto or cpu"):
        resolve_device(name)
    machine(monkeypatch, cuda=True, mps=True)
    assert resolve_device(name) == torch.device(name)
