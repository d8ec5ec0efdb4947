"""twotower: deep retrieval with a query tower and a candidate tower."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("twotower")
except PackageNotFoundError:  # running from a source tree that was never installed
    __version__ = "0.0.0"

__all__ = ["__version__"]
