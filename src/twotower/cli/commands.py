"""The group of commands: turns whatever a command raises into one message on stderr and an exit status."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from twotower.errors import ConfigError, TwotowerError

__all__ = ["Commands"]


class Commands(TyperGroup):
    """Exits with 0, 1 for a failure, 2 for wrong usage (a recipe or an option), 130 when interrupted.

    Only our own errors and those of the operating system become messages; anything else is a bug and keeps its traceback.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            if _is_rank():  # the process that started it says it, once
                raise typer.Exit(130) from None
            _exit(f"interrupted{f'; {interrupt}' if str(interrupt) else ''}", 130)
        except ConfigError as error:
            _exit(str(error), 2)
        except TwotowerError as error:
            _exit(str(error), 76 if _is_rank() else 1)  # so that it is not taken for a rank that died: see distributed.launch
        except BrokenPipeError:
            # whoever read has had enough; what is still buffered goes nowhere, so that the exit is silent
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except OSError as error:
            _exit(f"{error.filename}: {error.strerror}" if error.filename else str(error), 76 if _is_rank() else 1)


def _is_rank() -> bool:
    """Whether ``--ranks`` started this process; torch, which knows more, takes seconds to import."""
    return "TWOTOWER_AGENT" in os.environ


def _exit(message: str, status: int) -> None:
    sys.stderr.write(f"twotower: {message}\n")
    raise typer.Exit(status) from None
