"""What pytest passes over here: parts of the site that need the extra ``docs``, and examples that need ``onnx``."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("griffe") else ["docstring_examples.py"]
collect_ignore += [] if find_spec("onnx") and find_spec("onnxruntime") else ["export.md"]
