"""Who may do what: a bearer token, compared in constant time."""

from __future__ import annotations

import hmac
from pathlib import Path

from twotower.errors import ConfigError
from twotower.serving.problems import Problem

__all__ = ["Access", "read_token"]

_FEWEST = 16


def read_token(path: Path) -> str:
    """The first line of a file.

    Raises:
        ConfigError: If the file can't be read, others than its owner may read it, or the token is short or not plain text.
    """
    try:
        text = path.read_text(encoding="utf-8")
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"token_file: {path} can't be read: {error}") from None
    if mode & 0o077:
        raise ConfigError(f"token_file: others may read {path} (mode {mode & 0o777:o}); make it yours alone: chmod 600 {path}")
    token = text.partition("\n")[0].strip()
    if len(token) < _FEWEST or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(
            f"token_file: the first line of {path} must be a token of at least {_FEWEST} printable ASCII characters"
        )
    return token


class Access:
    """Lets writes through with the token alone, and reads as the service is told.

    Args:
        token: None: nobody may write.
        private: Whether reads need it too.
    """

    def __init__(self, token: str | None, *, private: bool) -> None:
        self._token = None if token is None else token.encode()
        self._private = private

    @property
    def writable(self) -> bool:
        """Whether there is a token."""
        return self._token is not None

    def require(self, authorization: str | None, *, write: bool) -> None:
        """Let a request through.

        Args:
            authorization: The header's value.
            write: Whether it changes something.

        Raises:
            Problem: 401 without the right token; 403 where there is none to have.
        """
        if not write and not self._private:
            return
        if self._token is None:
            raise Problem(403, "this service takes no writes: it was started without a token; start it with --token-file")
        scheme, _, given = (authorization or "").partition(" ")
        # the lengths of both are made equal by the digest's, so that the time tells neither
        if scheme.lower() != "bearer" or not hmac.compare_digest(_sum(given.strip().encode()), _sum(self._token)):
            raise Problem(
                401,
                "send the service's token: Authorization: Bearer TOKEN",
                headers={"WWW-Authenticate": 'Bearer realm="twotower"'},
            )


def _sum(data: bytes) -> bytes:
    return hmac.digest(b"twotower", data, "sha256")
