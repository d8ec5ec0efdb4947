"""The base of everything that a person chooses: frozen, closed, checked all at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from twotower.errors import ConfigError, nearest

__all__ = ["Config", "parse_config"]


class Config(BaseModel):
    """A frozen set of choices; an unknown key is an error, and so is NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


C = TypeVar("C", bound=Config)


def parse_config(config_type: type[C], values: object, *, source: str | None = None) -> C:
    """Build a config from plain values, naming every fault with its key and the nearest valid name.

    A key is named as it was written: levels that a config adds for itself, and the tags by which pydantic tells the members of
    a union apart, are left out. Entries of a list are counted from 0, as ``--set`` does.

    Args:
        config_type: What to build.
        values: Plain values, for instance parsed TOML or JSON.
        source: Where they come from, for the message.

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
        faults: list[Any] = [dict(fault) for fault in error.errors()]
    locations = [fault["loc"] for fault in faults]
    sentences: dict[str, list[str]] = {}
    for fault in faults:
        # a list whose entries are wrong is also called too short: no second fault
        if fault["type"] == "too_short" and any(_below(other, fault["loc"]) for other in locations):
            continue
        place = _place(config_type, values, fault)
        sentences.setdefault(place.key, []).append(_sentence(fault, place))
    # several sentences on one value are the members of a union that it could have been
    joined = [f"{key}: {', or '.join(dict.fromkeys(found))}" if key else "; ".join(found) for key, found in sentences.items()]
    raise ConfigError(joined, source=source)


@dataclass(frozen=True)
class _Place:
    """Where a fault is: the key as it was written, and what may be written there."""

    key: str
    models: tuple[type[BaseModel], ...]
    siblings: frozenset[str]

    @property
    def names(self) -> set[str]:
        return set(self.siblings).union(*(model.model_fields for model in self.models))


def _place(config_type: type[BaseModel], values: object, fault: Any) -> _Place:
    """Walk down the location of a fault, beside what was written and the configs that it was checked against."""
    location: tuple[str | int, ...] = fault["loc"]
    unknown = fault["type"] == "extra_forbidden"
    written: list[str] = []
    models: list[type[BaseModel]] = [config_type]
    siblings: frozenset[str] = frozenset()
    value: Any = values
    for part in location[:-1] if unknown else location:
        if isinstance(part, int):
            written.append(str(part))
            value = value[part] if isinstance(value, list | tuple) and part < len(value) else None
            continue
        tagged = [model for model in models if _tag(model) == part]
        if len(models) > 1 and tagged and isinstance(value, dict) and value.get("kind") == part:
            models = tagged
            continue
        holders = [model for model in models if part in model.model_fields]
        below = [found for model in holders for found in _models_in(model.model_fields[part])]
        if isinstance(value, dict) and part in value:
            written.append(part)
            siblings, value = frozenset(), value[part]
        elif fault["type"] == "missing" and part == location[-1]:
            written.append(part)
        elif holders:
            # the config put this level in; what stands beside it can be written here too
            siblings |= {name for model in holders for name in model.model_fields} - {part}
        else:
            continue
        # a key of a mapping is no field: what the mapping holds was found already
        models = below if holders else models
    if unknown:
        written.append(str(location[-1]))
    elif fault["type"] in ("union_tag_invalid", "union_tag_not_found"):
        written.append(fault["ctx"]["discriminator"].strip("'"))
    return _Place(".".join(written), tuple(models), siblings)


def _sentence(fault: Any, place: _Place) -> str:
    came = fault.get("input")
    shown = "" if isinstance(came, dict | list) and len(repr(came)) > 80 else f" (came: {came!r})"
    match fault["type"]:
        case "extra_forbidden":
            return f"unknown key{nearest(str(fault['loc'][-1]), place.names)}"
        case "missing":
            return "is required"
        case "union_tag_invalid":
            return f"no {fault['ctx']['tag']!r}{nearest(fault['ctx']['tag'], filter(None, map(_tag, place.models)))}"
        case "union_tag_not_found":
            return f"is required; valid: {', '.join(sorted(filter(None, map(_tag, place.models))))}"
        case "dict_type":
            return f"must be a table of keys and values{shown}"
        case "model_type" | "model_attributes_type":
            names = f", with keys such as {', '.join(sorted(place.names)[:3])}" if place.names else ""
            return f"must be a table of keys and values{names}{shown}"
        case "tuple_type" | "list_type":
            hint = f": write [[{place.key}]] for each entry" if isinstance(came, dict) else ""
            return f"must be a list{hint}{shown}"
        case "too_short":
            return f"must have at least {fault['ctx']['min_length']} entries{shown}"
        case "value_error":
            return f"{fault['msg'].removeprefix('Value error, ')}{'' if isinstance(came, dict) else shown}"
    message = fault["msg"]
    return f"{message[:1].lower()}{message[1:]}{shown}"


def _below(location: tuple[str | int, ...], parent: tuple[str | int, ...]) -> bool:
    return len(location) > len(parent) and location[: len(parent)] == parent


def _tag(model: type[BaseModel]) -> str | None:
    """What ``kind`` must be for this member of a union."""
    field = model.model_fields.get("kind")
    return field.default if field is not None and isinstance(field.default, str) else None


def _models_in(field: FieldInfo) -> list[type[BaseModel]]:
    """The configs that a field can hold, whether in a list, a mapping, a union or none of them."""
    found: list[type[BaseModel]] = []
    waiting: list[Any] = [field.annotation]
    while waiting:
        annotation = waiting.pop(0)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            found.append(annotation)
        else:
            waiting += getattr(annotation, "__args__", ())
    return found
