"""The body of a request: JSON of a bounded size that arrives in time, and is what the route asks for."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from twotower.serving.config import Limits
from twotower.serving.problems import Problem

__all__ = ["read_body"]

_Call = TypeVar("_Call", bound=BaseModel)
_SHOWN = 20


async def read_body(request: Request, kind: type[_Call], limits: Limits) -> _Call:
    """Read and check a body.

    Raises:
        Problem: 415 if it is not said to be JSON; 413 if it is too large; 408 if it does not arrive; 400 if it is no JSON; 422
            if it is another JSON than the route asks for, with every fault.
    """
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise Problem(415, f"send Content-Type: application/json (came: {media[:80]!r})")
    data = await _read(request, limits)
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)
        if any(fault["type"] == "json_invalid" for fault in faults):
            raise Problem(400, f"the body is no JSON: {faults[0]['msg']}") from None
        shown = [
            {"at": "/" + "/".join(_plain(part) for part in f["loc"]), "detail": _plain(f["msg"], 300)} for f in faults[:_SHOWN]
        ]
        first = shown[0]
        more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
        raise Problem(422, f"{first['at']}: {first['detail']}{more}", errors=shown) from None
    except (ValueError, RecursionError) as error:  # integers of thousands of digits, say
        raise Problem(400, f"the body can't be read: {_plain(error, 200)}") from None


async def _read(request: Request, limits: Limits) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limits.max_body_bytes:
        raise _too_large(limits)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limits.max_body_bytes:
                    raise _too_large(limits)
                chunks.append(chunk)
    except TimeoutError:
        raise Problem(
            408, f"the body was not there after {limits.body_seconds:g} seconds", headers={"Connection": "close"}
        ) from None
    except ClientDisconnect:
        raise Problem(400, "the client went before its body was there") from None
    return b"".join(chunks)


def _too_large(limits: Limits) -> Problem:
    return Problem(
        413, f"a body may have {limits.max_body_bytes:,} bytes; send less, in several calls", headers={"Connection": "close"}
    )


def _plain(value: object, most: int = 80) -> str:
    """As text that is printable whatever a client sent, and short."""
    text = str(value).encode("utf-8", "replace").decode()
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in text)[:most]
