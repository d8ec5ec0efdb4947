"""The token that writes need, kept in a file; read without the web stack, so that the command can check it first."""

from __future__ import annotations

from pathlib import Path

from twotower.errors import ConfigError

__all__ = ["read_token"]

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
