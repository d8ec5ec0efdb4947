"""A graph that is run, the way somebody who serves it runs it.

The only file that imports ``onnxruntime``, which comes with the extra ``onnx``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from twotower.errors import ExportError, MissingExtraError

__all__ = ["Session", "onnxruntime_version"]


@final
class Session:
    """An ONNX file, loaded on the CPU.

    Args:
        path: The file.

    Raises:
        MissingExtraError: If ``onnxruntime`` is not installed.
        ExportError: If it can't run the file.
    """

    def __init__(self, path: Path) -> None:
        runtime = _onnxruntime()
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # it has a class of its own for each of its states, none of which it exports
            raise ExportError(
                f"{path.name}: onnxruntime {onnxruntime_version()} can't run it: {error}; "
                "an older opset, or a newer onnxruntime, may help"
            ) from error

    @property
    def input_names(self) -> list[str]:
        """Names of the inputs, in the order of the graph."""
        return [entry.name for entry in self._session.get_inputs()]

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """The first output, float32 ``[B, D]``.

        Args:
            feeds: Every input by its name.
        """
        (vectors_BD,) = self._session.run(None, dict(feeds))
        result: NDArray[np.float32] = vectors_BD
        return result


def onnxruntime_version() -> str:
    """The version of the library; raises as a `Session` does."""
    return str(_onnxruntime().__version__)


def _onnxruntime() -> Any:
    try:
        import onnxruntime  # type: ignore[import-untyped]
    except ImportError:
        raise MissingExtraError("an ONNX export is tried in onnxruntime: pip install 'twotower[onnx]'") from None
    return onnxruntime
