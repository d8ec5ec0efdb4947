"""``twotower serve``."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import NamedTuple

from twotower.bundle import current_version, is_published
from twotower.errors import ConfigError
from twotower.recommender import bundle_folder
from twotower.serving import Limits, ServiceConfig, serve
from twotower.serving.stores import is_redis_url, redis_place
from twotower.serving.token_file import read_token

__all__ = ["ServeOptions", "serve_command"]


class ServeOptions(NamedTuple):
    """The options, as the command has them."""

    host: str
    port: int
    workers: int
    token_file: Path | None
    private: bool
    store: str | None
    page: bool
    max_per_client: int
    log_level: str


def serve_command(run: Path, options: ServeOptions) -> None:
    """Check what can be checked before a process starts, say where it will be, and serve."""
    if options.log_level not in ("debug", "info", "warning", "error"):
        raise ConfigError(f"--log-level must be debug, info, warning or error; came {options.log_level!r}")
    if options.token_file is not None:
        read_token(options.token_file)
    elif options.private:
        raise ConfigError("--private needs a token: give --token-file")
    if is_published(run):
        current_version(run)
    else:
        bundle_folder(run)
    _require_free(options.host, options.port)
    config = ServiceConfig(
        model=run.absolute(),
        store=_store(options.store),
        token_file=None if options.token_file is None else options.token_file.absolute(),
        private=options.private,
        page=options.page,
        limits=Limits(max_per_client=options.max_per_client),
    )
    shown = f"[{options.host}]" if ":" in options.host else options.host
    writes = "writes need the token" if options.token_file else "nobody may write: give --token-file for that"
    sys.stderr.write(f"twotower: serving {run} on http://{shown}:{options.port} ({writes}); end with Ctrl-C\n")
    serve(config, host=options.host, port=options.port, workers=options.workers, log_level=options.log_level)


def _store(place: str | None) -> Path | str | None:
    """A file as a path, a URL of Redis as it is."""
    if place is None:
        return None
    if is_redis_url(place):
        redis_place(place)
        return place
    if "://" in place:
        raise ConfigError(f"--store takes a file, or a URL with redis:// or rediss:// (came: {place.partition(':')[0]}://)")
    return Path(place).absolute()


def _require_free(host: str, port: int) -> None:
    """A server that can't bind ends in a process of its own, where nobody sees why."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, UnicodeError) as error:  # a name of odd parts is not even asked for
        raise ConfigError(
            f"can't listen on {host} port {port}: {getattr(error, 'strerror', None) or error}; choose another --host or --port"
        ) from None
