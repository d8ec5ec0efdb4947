"""What is wrong with a request, as RFC 9457 has it: ``application/problem+json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic_core import to_json
from starlette.responses import Response

from twotower.errors import BundleError, ConfigError, TwotowerError, UnknownIdError

__all__ = ["Problem", "problem_of"]

_TITLES = {
    400: ("bad-request", "The request can't be read"),
    401: ("no-token", "A token is needed"),
    403: ("forbidden", "This is not allowed"),
    404: ("not-found", "There is no such thing"),
    405: ("method-not-allowed", "The path does not know this method"),
    408: ("too-slow", "The request took too long to arrive"),
    409: ("conflict", "Not in this state"),
    413: ("too-large", "The request is too large"),
    415: ("not-json", "The body must be JSON"),
    422: ("invalid", "The request asks for something that can't be"),
    429: ("too-many", "Too many requests of this client at a time"),
    500: ("fault", "The service has a fault"),
    503: ("busy", "The service has too much to do"),
}


class Problem(Exception):  # noqa: N818 - the word of RFC 9457
    """An answer that says what is wrong.

    Args:
        status: HTTP status.
        detail: What must hold, what came, what to do.
        errors: Faults one by one: where (a JSON pointer or a query's number) and what.
        headers: To send along.
        kind: The last part of the problem's type; None: the status' own.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: Sequence[Mapping[str, object]] = (),
        headers: Mapping[str, str] | None = None,
        kind: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors = status, detail, list(errors)
        self.headers = dict(headers or {})
        self.kind = kind or _TITLES[status][0]

    def as_json(self) -> dict[str, object]:
        """The members of the problem document."""
        members: dict[str, object] = {
            "type": f"urn:twotower:problem:{self.kind}",
            "title": _TITLES[self.status][1],
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            members["errors"] = self.errors
        return members

    def response(self, request_id: str) -> Response:
        """The answer."""
        body = to_json(self.as_json() | {"instance": f"urn:twotower:request:{request_id}"}, inf_nan_mode="null")
        return Response(body, self.status, headers=self.headers, media_type="application/problem+json")


def problem_of(error: TwotowerError) -> Problem:
    """The problem that an error of the library is to who asked."""
    if isinstance(error, UnknownIdError):
        return Problem(404, str(error), kind="unknown-id")
    if isinstance(error, BundleError):
        return Problem(409, str(error), kind="broken-version")
    if isinstance(error, ConfigError):
        return Problem(422, str(error))
    return Problem(422, str(error))
