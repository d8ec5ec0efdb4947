"""The base of everything that a person chooses: frozen, closed, checked all at once."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from twotower.errors import ConfigError, nearest

__all__ = ["Config", "parse_config"]


class Config(BaseModel):
    """A frozen set of choices; an unknown key is an error, and so is NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


C = TypeVar("C", bound=Config)


def parse_config(config_type: type[C], values: object, *, source: str | None = None) -> C:
    """Build a config from plain values, naming every fault with its key and the nearest valid name.

    Raises:
        ConfigError: With one sentence per fault.

    Example:
        >>> class Loss(Config):
        ...     temperature: float = 1.0
        >>> parse_config(Loss, {"tempreture": 0.1})
        Traceback (most recent call last):
        ...
        twotower.errors.ConfigError: tempreture: unknown key; did you mean 'temperature'?
    """
    try:
        return config_type.model_validate(values)
    except ValidationError as error:
        raise ConfigError([_sentence(config_type, fault) for fault in error.errors()], source=source) from None


def _sentence(config_type: type[BaseModel], fault: Any) -> str:
    location = [str(part) for part in fault["loc"]]
    key = ".".join(location) or "(top)"
    if fault["type"] == "extra_forbidden":
        parent = _model_at(config_type, fault["loc"][:-1])
        return f"{key}: unknown key{nearest(location[-1], parent.model_fields) if parent else ''}"
    if fault["type"] == "missing":
        return f"{key}: is required"
    message = fault["msg"].removeprefix("Value error, ")
    came = fault.get("input")
    shown = "" if isinstance(came, dict | list) and len(repr(came)) > 80 else f" (came: {came!r})"
    return f"{key}: {message[:1].lower()}{message[1:]}{shown}"


def _model_at(model: type[BaseModel] | None, location: tuple[str | int, ...]) -> type[BaseModel] | None:
    """The config class that a location in the input belongs to; None when it can't be told."""
    candidates: list[type[BaseModel]] = [model] if model else []
    for part in location:
        if isinstance(part, int):
            continue
        found: list[type[BaseModel]] = []
        for candidate in candidates:
            if part in candidate.model_fields:
                found += _models_in(candidate.model_fields[part].annotation)
        # pydantic puts the tag of a discriminated union into the location: it selects, it does not descend
        tagged = [c for c in candidates if c.model_fields.get("kind") is not None and c.model_fields["kind"].default == part]
        candidates = found or tagged or candidates
    return candidates[0] if candidates else None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    found: list[type[BaseModel]] = []
    for argument in getattr(annotation, "__args__", ()):
        found += _models_in(argument)
    return found
