"""What pytest passes over here: parts of the site that need the extra ``docs``."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("griffe") else ["docstring_examples.py"]
