"""An ONNX graph, written node by node.

The only file that imports ``onnx``, which comes with the extra ``onnx``. Nothing is traced: a graph holds the nodes that it was
given, of operations that every runtime has had since opset 17.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from twotower.errors import ConfigError, MissingExtraError

__all__ = ["LEAST_OPSET", "Graph", "check_opset", "onnx_version"]

LEAST_OPSET = 17
"""The first one that has layer normalisation."""

_IN_THE_FILE = 2**30
"""Protobuf ends at 2 GiB: from half of that on, large constants are a file of their own, as ONNX lets them be."""

_LARGE = 1 << 12


def _onnx() -> ModuleType:
    """The library.

    Raises:
        MissingExtraError: If it is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise MissingExtraError("an ONNX export needs the library onnx: pip install 'twotower[onnx]'") from None
    return onnx


def onnx_version() -> str:
    """The version of the library; raises as a `Graph` does."""
    return str(_onnx().__version__)


def check_opset(opset: int) -> None:
    """Make sure that a graph can be written with an opset.

    Raises:
        ConfigError: If it is older than what the towers need, or newer than the library knows.
        MissingExtraError: If ``onnx`` is not installed.
    """
    newest = _onnx().defs.onnx_opset_version()
    if not LEAST_OPSET <= opset <= newest:
        raise ConfigError(f"opset: must be from {LEAST_OPSET} to {newest}, which onnx {onnx_version()} knows; came {opset}")


class Graph:
    """Inputs, constants and nodes, in the order in which they were added; values are known by their names.

    Args:
        name: Of the graph.
        opset: Of ONNX's own operations.

    Raises:
        ConfigError: If the opset is not one that can be written.
        MissingExtraError: If ``onnx`` is not installed.
    """

    def __init__(self, name: str, *, opset: int) -> None:
        check_opset(opset)
        self.name = name
        self.opset = opset
        self._onnx = _onnx()
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._nodes: list[Any] = []
        self._constants: dict[str, NDArray[Any]] = {}
        self._small: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._count = 0

    def input(self, name: str, dtype: type[np.generic], shape: Sequence[int | str], *, about: str) -> str:
        """Declare an input; a dimension that is a word may be of any size.

        Args:
            name: Of the input, another one for each.
            dtype: Of numpy.
            shape: Sizes, or words.
            about: What it means.

        Returns:
            The name.
        """
        self._inputs.append(self._described(name, dtype, shape, about))
        return name

    def output(self, value: str, name: str, dtype: type[np.generic], shape: Sequence[int | str], *, about: str) -> None:
        """Declare a value to be an output, under a name."""
        self._nodes.append(self._onnx.helper.make_node("Identity", [value], [name], name=f"output:{name}"))
        self._outputs.append(self._described(name, dtype, shape, about))

    def constant(self, array: NDArray[Any], name: str | None = None) -> str:
        """A constant; small ones of equal type, shape and bytes are there once.

        Args:
            array: float32, float64, int32, int64 or bool.
            name: None for small ones.
        """
        array = np.asarray(array)
        if name is None:
            key = (array.dtype.str, array.shape, array.tobytes())
            if key not in self._small:
                self._small[key] = f"constant:{len(self._small)}"
                self._constants[self._small[key]] = array
            return self._small[key]
        if name not in self._constants:  # a table that two inputs share
            self._constants[name] = array
        return name

    def node(self, operation: str, *inputs: str, **attributes: Any) -> str:
        """Add a node of one output, and return its name."""
        self._count += 1
        name = f"{operation}:{self._count}"
        self._nodes.append(self._onnx.helper.make_node(operation, list(inputs), [name], name=name, **attributes))
        return name

    def cast(self, value: str, dtype: type[np.generic]) -> str:
        """A value as another type of numpy."""
        return self.node("Cast", value, to=int(self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))))

    def write(self, path: Path, *, properties: Mapping[str, str], in_the_file: int = _IN_THE_FILE) -> list[Path]:
        """Write the graph, and check what was written: types and shapes of every value are inferred.

        Args:
            path: The file.
            properties: Kept with the model.
            in_the_file: With more bytes of constants than this, large ones are written into a file beside, ``<path>.data``,
                which a runtime finds by its name.

        Returns:
            The files.

        Raises:
            onnx.checker.ValidationError: If the graph is not valid, which is a bug of ours.
        """
        helper, files = self._onnx.helper, [path]
        if sum(array.nbytes for array in self._constants.values()) > in_the_file:
            beside = path.with_name(f"{path.name}.data")
            files.append(beside)
            with beside.open("wb") as file:
                constants = [
                    self._elsewhere(name, array, file, beside.name) if array.nbytes >= _LARGE else self._here(name, array)
                    for name, array in self._constants.items()
                ]
        else:
            constants = [self._here(name, array) for name, array in self._constants.items()]
        graph = helper.make_graph(self._nodes, self.name, self._inputs, self._outputs, initializer=constants)
        opsets = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(
            graph,
            opset_imports=opsets,
            ir_version=helper.find_min_ir_version_for(opsets),
            producer_name="twotower",
            producer_version=properties.get("twotower", ""),
        )
        helper.set_model_props(model, dict(properties))
        path.write_bytes(model.SerializeToString())
        self._onnx.checker.check_model(str(path), full_check=True)
        return files

    def _described(self, name: str, dtype: type[np.generic], shape: Sequence[int | str], about: str) -> Any:
        kind = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self._onnx.helper.make_tensor_value_info(name, kind, list(shape), doc_string=about)

    def _here(self, name: str, array: NDArray[Any]) -> Any:
        return self._onnx.numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)

    def _elsewhere(self, name: str, array: NDArray[Any], file: BinaryIO, location: str) -> Any:
        """A constant whose bytes are in another file, from a multiple of 4,096 on, so that a runtime may map them."""
        file.seek(-file.tell() % 4096, 1)
        start = file.tell()
        np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tofile(file)
        tensor = self._onnx.TensorProto()
        tensor.name, tensor.data_type = name, self._onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        tensor.dims.extend(array.shape)
        tensor.data_location = self._onnx.TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", start), ("length", array.nbytes)):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, str(value)
        return tensor
