"""An accelerator that is none: tensors that say they are on a device of their own, and whose numbers are in plain memory.

What an accelerator does with a program can be looked at without one. Tensors of two devices do not mix; whatever needs a value
on the host (``item``, ``nonzero``, a copy) makes the host wait, and is counted; and operations that were recorded once can be
run again on what their tensors hold by then, as a CUDA graph does, with every Python number as it was when they were recorded.
Kernels, streams and speed are not emulated: what passes here has still not run on a GPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

__all__ = ["DEVICE", "Emulation", "MixedDevicesError", "Recording", "emulated"]

NAME = "emulated"
# what an accelerator answers only when it has done all that came before, or into shapes that only the values say
_WAITING = {
    "aten::_local_scalar_dense",
    "aten::nonzero",
    "aten::masked_select",
    "aten::_unique2",
    "aten::unique_consecutive",
    "aten::unique_dim",
    "aten::bincount",
    "aten::repeat_interleave",
    "aten::_coalesce",
    "aten::equal",
    "aten::is_nonzero",
}
_COPIES = {"aten::copy_", "aten::_to_copy", "aten::_copy_from", "aten::set_"}
_INDEXED = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}
_FILLED = {"aten::masked_fill", "aten::masked_fill_", "aten::index_fill", "aten::index_fill_"}


class MixedDevicesError(RuntimeError):
    """Tensors of the host and of the device in one operation."""


class _Module:
    """What torch asks of a device's own module."""

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 1

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        """Its random numbers are the host's."""

    def get_rng_state(self, *_: object) -> Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, *_: object) -> None:
        """Whoever puts back the states of all devices has put back the host's."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


def _registered() -> torch.device:
    if torch._C._get_privateuse1_backend_name() != NAME:
        _setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
        _AUTOCAST.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")  # type: ignore[no-untyped-call]
    return torch.device(NAME, 0)


# kept as long as the device: autocast changes nothing there
_AUTOCAST = torch.library.Library("_", "IMPL")  # type: ignore[no-untyped-call]
DEVICE = _registered()


class _OnDevice(Tensor):
    """A tensor of the device; ``numbers`` holds its numbers."""

    numbers: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> _OnDevice:
        strided = inner.layout == torch.strided
        found: _OnDevice = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride() if strided else None,
            storage_offset=inner.storage_offset() if strided else None,
            dtype=inner.dtype,
            layout=inner.layout,
            device=DEVICE,
            requires_grad=False,
        )
        found.numbers = inner
        return found

    def __repr__(self) -> str:  # type: ignore[override]
        return f"_OnDevice({self.numbers!r})"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return _run(func, args, dict(kwargs or {}))


def _run(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """One operation: on the device if a tensor of it goes in, or if its result is asked for there."""
    name = str(func._schema.name)
    tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
    here = [each for each in tensors if isinstance(each, _OnDevice)]
    asked = kwargs.get("device")
    onto = bool(here) if asked is None else torch.device(asked).type == NAME
    if here and name not in _COPIES:
        others = [each for each in tensors if not isinstance(each, _OnDevice) and each.dim() > 0]
        if others:
            raise MixedDevicesError(f"{name}: tensors of the device and of the host: {[list(each.shape) for each in others]}")
    if name == "aten::copy_":
        onto = isinstance(args[0], _OnDevice)
    for emulation in _open:
        emulation.saw(name, here, onto)
        if onto and name in _COPIES and len(here) < len(tensors):
            emulation.copied_there(name, waiting=not _goes_on(name, args, kwargs))
        if here and _asks(name, args):
            emulation.waited(f"{name} by values of the device")
    host = tree_map(_host, list(args))
    host_kwargs = tree_map(_host, kwargs)
    found = _computed(func, host, host_kwargs)
    given = {id(each.numbers): each for each in here}

    def back(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if id(value) in given:
            return given[id(value)]
        return _OnDevice(value) if onto else value

    result = tree_map(back, found)
    for emulation in _open:
        if emulation.recording is not None and (here or onto):
            emulation.recording.add(func, args, kwargs, result)
    return result


def _goes_on(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a copy was asked for that the host need not wait for; only pinned memory is copied so."""
    return bool(kwargs.get("non_blocking") or (name == "aten::copy_" and len(args) > 2 and args[2]))


def _computed(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What an operation gives; sparse tensors are added as on CUDA: one behind the other, where a CPU merges their rows."""
    if func is torch.ops.aten.add.Tensor and not kwargs and all(_is_sparse(each) for each in args[:2]):
        left, right = args[:2]
        indices = torch.cat([left._indices(), right._indices()], 1)
        return torch.sparse_coo_tensor(
            indices, torch.cat([left._values(), right._values()]), left.shape, check_invariants=False
        )
    return func(*args, **kwargs)


def _is_sparse(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.sparse_coo


def _asks(name: str, args: Sequence[Any]) -> bool:
    """Whether an operation that waits for nothing by its name does with these: bool indices, a number that is on the device."""
    if name in _FILLED:
        return isinstance(args[-1], _OnDevice)
    if name not in _INDEXED:
        return False
    chosen = any(isinstance(each, Tensor) and each.dtype in (torch.bool, torch.uint8) for each in args[1])
    return chosen and not (name != "aten::index" and args[2].numel() == 1)  # one number into chosen places is a masked fill


def _host(value: Any) -> Any:
    if isinstance(value, _OnDevice):
        return value.numbers
    return torch.device("cpu") if isinstance(value, torch.device) else value


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        return _run(func, args, dict(kwargs or {}))


class _Functions(TorchFunctionMode):
    """``torch.tensor`` and its like fill memory themselves: they make a tensor of the host, which then goes to the device."""

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is Tensor.pin_memory:  # a build without CUDA has nothing to pin for
            return args[0]
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            device = torch.device(kwargs.pop("device"))
            return func(*args, **kwargs).to(device)
        if args and isinstance(args[0], _OnDevice):
            if func is Tensor.tolist:
                return args[0].cpu().tolist()
            if func is Tensor.__setitem__ and isinstance(args[2], int | float) and _places(args[1]):
                for emulation in _open:  # CUDA copies the number from the host, and waits until it has
                    emulation.waited("a number put to places that are counted")
            if func is Tensor.numpy:
                raise TypeError("can't convert a tensor of the device to numpy: copy it to the host first")
        return func(*args, **kwargs)


def _places(index: Any) -> bool:
    """Whether an index is of single places rather than of slices or of a mask."""
    parts = index if isinstance(index, tuple) else (index,)
    if any(isinstance(part, Tensor) and part.dtype not in (torch.bool, torch.uint8) for part in parts):
        return True
    return all(isinstance(part, int) for part in parts)


class Recording:
    """Operations as they ran once; `replay` runs them again, into the same tensors.

    Attributes:
        count: How many there are.
    """

    def __init__(self) -> None:
        self._operations: list[tuple[Any, Any, Any, Any]] = []

    @property
    def count(self) -> int:
        return len(self._operations)

    def add(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> None:
        self._operations.append((func, list(args), dict(kwargs), result))

    def replay(self) -> None:
        """Run all again: tensors are where they were, numbers of Python what they were."""
        with torch.no_grad():
            for func, args, kwargs, result in self._operations:
                found = _computed(func, tree_map(_host, args), tree_map(_host, kwargs))
                for new, old in zip(tree_leaves(found), tree_leaves(result), strict=True):
                    _put(new, old)


def _put(new: Any, old: Any) -> None:
    if not isinstance(old, _OnDevice):
        return
    if new is old.numbers or (new.layout == torch.strided and new.data_ptr() == old.numbers.data_ptr()):
        return
    if new.layout == torch.sparse_coo:
        old.numbers._indices().copy_(new._indices())
        old.numbers._values().copy_(new._values())
        return
    if new.shape != old.numbers.shape:
        raise RuntimeError(f"a replay gave another shape: {list(new.shape)} for {list(old.numbers.shape)}")
    old.numbers.copy_(new)


class Emulation:
    """What was seen while the device was there.

    Attributes:
        waits: How often the host waited for the device, by operation.
        sent: How often the host waited until its memory was copied to the device, for it was not pinned; on CUDA such a copy
            also waits for all that came before it.
        captured: How often `capture` was asked to capture.
        repeated: How often what it captured was repeated.
        recording: Where operations are recorded now; None: nowhere.
    """

    def __init__(self) -> None:
        self.waits: Counter[str] = Counter()
        self.sent = self.captured = self.repeated = 0
        self.recording: Recording | None = None

    def saw(self, name: str, here: Sequence[Tensor], onto: bool) -> None:
        if bool(here) and (name in _WAITING or (name in _COPIES and not onto)):
            self.waited(name)

    def waited(self, name: str) -> None:
        """The host waited: while operations are recorded it can't."""
        self.waits[name] += 1
        if self.recording is not None:
            raise RuntimeError(f"{name} makes the host wait: it can't be recorded")

    def copied_there(self, name: str, *, waiting: bool) -> None:
        """Memory of the host was copied: a CUDA graph refuses what is not pinned, and reads what is when it is replayed."""
        self.sent += waiting
        if self.recording is not None:
            raise RuntimeError(f"{name} copies from the host: it can't be recorded")

    @contextmanager
    def record(self) -> Iterator[Recording]:
        """Record what runs on the device within the block."""
        self.recording = Recording()
        try:
            yield self.recording
        finally:
            self.recording = None

    def capture(self, work: Callable[[], Any], device: torch.device) -> Callable[[], None]:
        """What repeats work, as a CUDA graph does; here it is done while it is recorded, and not by the first repeat."""
        assert device.type == NAME
        self.captured += 1
        with self.record() as recording:
            work()

        def repeat() -> None:
            self.repeated += 1
            next(repeats, recording.replay)()

        repeats = iter([lambda: None])
        return repeat

    def waits_of(self, work: Callable[[], Any]) -> Counter[str]:
        """How often the host waited within ``work``."""
        before = self.waits.copy()
        work()
        return self.waits - before


_open: list[Emulation] = []


def _no_grad(mode: bool = True) -> AbstractContextManager[Any]:
    return torch.no_grad() if mode else nullcontext()


@contextmanager
def emulated() -> Iterator[Emulation]:
    """Within the block tensors can be made on `DEVICE`, and moved there and back.

    ``torch.inference_mode`` is ``torch.no_grad`` there: in the former, torch neither takes composite operations apart nor lets
    a view of a tensor be a tensor of this device.
    """
    emulation = Emulation()
    _open.append(emulation)
    try:
        pinning = patch("twotower.types.PINNING", {"cuda", NAME})
        with pinning, patch.object(torch, "inference_mode", _no_grad), _Functions(), _Operations():  # type: ignore[no-untyped-call]
            yield emulation
    finally:
        _open.remove(emulation)
