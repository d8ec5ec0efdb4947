"""Who may do what: a bearer token, compared in constant time."""

from __future__ import annotations

import hmac

from twotower.serving.problems import Problem

__all__ = ["Access"]


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
