"""The command's entry: runs it, and turns errors into one sentence and an exit status."""

from __future__ import annotations

import os
import sys

import click

from twotower.errors import ConfigError, TwotowerError

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Run ``twotower``; exits with 0, 1 for a failure, 2 for wrong usage, 130 when interrupted.

    Args:
        arguments: None for those of the process.
    """
    from twotower.cli.app import app

    try:
        status = app(arguments, standalone_mode=False)
    except click.exceptions.Abort:
        status = _say("interrupted", 130)
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except ConfigError as error:
        status = _say(str(error), 2)
    except TwotowerError as error:
        status = _say(str(error), 1)
    except KeyboardInterrupt:
        status = _say("interrupted; go on with --resume", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except OSError as error:
        status = _say(str(error), 1)
    sys.exit(status if isinstance(status, int) else 0)


def _say(message: str, status: int) -> int:
    sys.stderr.write(f"twotower: {message}\n")
    return status
