"""The server around the application: processes, sockets, time-outs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from twotower.errors import MissingExtraError
from twotower.serving.config import ServiceConfig

if TYPE_CHECKING:
    from twotower.serving.app import Application

__all__ = ["application", "serve"]

_SETTINGS = "TWOTOWER_SERVICE"
_HEADER_SECONDS = 10
_MOST_CONNECTIONS = 1024


def application() -> Application:
    """The application that a worker process runs, with what `serve` was told."""
    from torch import set_num_threads

    from twotower.serving.app import create_app
    from twotower.serving.logs import log_to_stderr

    log_to_stderr(os.environ.get(f"{_SETTINGS}_LOG", "info"))
    config = ServiceConfig.model_validate_json(os.environ[_SETTINGS])
    # torch's threads wait for each other at work: with the one that speaks HTTP, they must not be more than the cores
    set_num_threads(answering_threads(config, int(os.environ.get(f"{_SETTINGS}_WORKERS", "1")), _cores()))
    return create_app(config)


def answering_threads(config: ServiceConfig, workers: int, cores: int) -> int:
    """Threads that answer queries in one of some processes.

    Example:
        >>> config = ServiceConfig(model="runs/movielens")
        >>> [answering_threads(config, workers, 16) for workers in (1, 2, 64)]
        [8, 4, 1]
        >>> answering_threads(config.model_copy(update={"threads": 3}), 2, 16)
        3
    """
    return config.threads or max(1, cores // (2 * workers))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def serve(config: ServiceConfig, *, host: str, port: int, workers: int, log_level: str) -> None:
    """Serve until the process is told to end (SIGINT, SIGTERM); what has begun is answered.

    Args:
        config: The service.
        host: To bind to.
        port: To bind to.
        workers: Processes, each with the model in its memory; what one writes, all answer with.
        log_level: Of the service's log: ``warning`` leaves out a line per request.

    Raises:
        MissingExtraError: If the server is not installed.
    """
    try:
        import starlette  # noqa: F401 - its absence would show in a worker, where nobody sees it
        from granian import Granian
        from granian.constants import Interfaces
        from granian.http import HTTP1Settings
        from granian.log import LogLevels
    except ImportError as error:
        raise MissingExtraError("serving needs a web server: pip install 'twotower[serve]'") from error
    os.environ[_SETTINGS] = config.model_dump_json()
    os.environ[f"{_SETTINGS}_LOG"] = log_level
    os.environ[f"{_SETTINGS}_WORKERS"] = str(workers)
    Granian(
        "twotower.serving.server:application",
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        workers=workers,
        factory=True,
        websockets=False,
        backlog=_MOST_CONNECTIONS,
        backpressure=_MOST_CONNECTIONS,
        http1_settings=HTTP1Settings(header_read_timeout=_HEADER_SECONDS * 1000),
        log_level=LogLevels.warning,
        respawn_failed_workers=False,
        workers_kill_timeout=10,
    ).serve()
