"""The terminal edge. Nothing here imports torch until a command needs it."""

from twotower.cli.main import main

__all__ = ["main"]
