"""The reference of recipes, made from the configs themselves: MkDocs puts it where a page says ``<!-- recipe reference -->``.

Every section, key, type, bound and default is read from the pydantic models, and every sentence from their docstrings, so that
the page can't say anything else than the code does.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from twotower.runs import Recipe
from twotower.runs.feature_entry import FeatureEntry

__all__ = ["Key", "Section", "attributes", "on_page_markdown", "recipe_markdown", "sections", "summary", "type_words"]

MARK = "<!-- recipe reference -->"
_WORDS = {bool: "`true` or `false`", int: "integer", float: "number", str: "text", NoneType: ""}
_BOUNDS = {"ge": "at least {}", "gt": "more than {}", "le": "at most {}", "lt": "less than {}"}
_LENGTHS = ("min_length", "max_length", "pattern")

Model: TypeAlias = type[BaseModel]


@dataclass(frozen=True)
class Key:
    """One key of a section.

    Attributes:
        name: As it is written.
        type_words: What may be written, with its bounds.
        default: ``required``, or what holds when the key is left out.
        meaning: From the docstring.
        holds_table: Whether the key is a table, which has a section of its own.
    """

    name: str
    type_words: str
    default: str
    meaning: str
    holds_table: bool


@dataclass(frozen=True)
class Section:
    """One table of a recipe, or one kind of it.

    Attributes:
        model: The config that it becomes.
        paths: Where it may stand: dotted keys, with ``[]`` after lists; empty for the recipe itself.
        kind: What ``kind`` says, where tables of several kinds may stand there.
        intro: What the docstring says before the attributes.
        keys: Without ``kind`` where there are several.
    """

    model: Model
    paths: tuple[str, ...]
    kind: str | None
    intro: str
    keys: tuple[Key, ...]


def attributes(model: Model) -> dict[str, str]:
    """What the Google docstrings of a config and of those that it extends say of each attribute.

    Example:
        >>> class Colour(BaseModel):
        ...     '''A colour.
        ...
        ...     Attributes:
        ...         red: From 0
        ...             to 255.
        ...     '''
        ...
        ...     red: int
        >>> attributes(Colour)
        {'red': 'From 0 to 255.'}
    """
    found: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        text = inspect.cleandoc(owner.__dict__.get("__doc__") or "")
        _, there, rest = text.partition("\nAttributes:\n")
        name = ""
        for line in rest.splitlines() if there else ():
            if line and not line.startswith(" "):
                break  # the next section of the docstring
            entry = re.match(r"^ {4}(\w+): (.*)$", line)
            if entry:
                name = entry[1]
                found[name] = entry[2].strip()
            elif name and line.strip():
                found[name] += " " + line.strip()
    return {name: meaning for name, meaning in found.items() if name in model.model_fields}


def summary(model: Model) -> str:
    """What a config's own docstring says before its attributes and examples."""
    text = inspect.cleandoc(model.__dict__.get("__doc__") or "")
    return re.split(r"\n(?:Attributes|Example|Raises):\n", text)[0].strip()


@cache
def sections(root: Model = Recipe) -> tuple[Section, ...]:
    """Every table that a recipe may hold, in the order in which the configs name them, each once."""
    places: dict[Model, list[str]] = {}
    several: set[Model] = set()

    def walk(model: Model, path: str) -> None:
        if path in places.setdefault(model, []):
            return
        places[model].append(path)
        for name, field in _fields(model):
            below = [found for found in _models(field.annotation) if not _is_inline(found)]
            written = f"{path}.{name}" if path else name
            if get_origin(_plain(field.annotation)) is tuple:
                written += "[]"
            if model is FeatureEntry and name == "feature":
                written = path  # the keys of the feature stand beside `embedding`
            if len(below) > 1:
                several.update(below)
            for found in below:
                walk(found, written)

    walk(root, "")
    return tuple(
        Section(
            model=model,
            paths=tuple(paths),
            kind=model.model_fields["kind"].default if model in several else None,
            intro=summary(model),
            keys=tuple(_keys(model, several=model in several)),
        )
        for model, paths in places.items()
    )


def _fields(model: Model) -> list[tuple[str, FieldInfo]]:
    """Scalars before tables, as they must stand in TOML; features before the embedding."""
    return sorted(model.model_fields.items(), key=lambda entry: bool(_models(entry[1].annotation)))


def _keys(model: Model, *, several: bool) -> Iterator[Key]:
    meanings = attributes(model)
    for name, field in _fields(model):
        if (several and name == "kind") or (model is FeatureEntry and name == "feature"):
            continue
        models = _models(field.annotation)
        inline = [summary(found) for found in models if _is_inline(found)]
        yield Key(
            name=name,
            type_words=type_words(field.annotation, field.metadata),
            default=_default_words(field),
            meaning=" ".join([meanings.get(name, ""), *(f"Fill: {sentence}" for sentence in inline)]).strip(),
            holds_table=any(not _is_inline(found) for found in models),
        )


def _is_inline(model: Model) -> bool:
    """A table of one key, without which it would say nothing, is written in the line of the key that it belongs to."""
    return [field.is_required() for field in model.model_fields.values()] == [True]


def _plain(annotation: Any) -> Any:
    """Without ``Annotated`` and ``None``."""
    if get_origin(annotation) is Annotated:
        return _plain(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        rest = [part for part in get_args(annotation) if part is not NoneType]
        return _plain(rest[0]) if len(rest) == 1 else annotation
    return annotation


def _models(annotation: Any) -> list[Model]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) is Literal:
        return []
    return [found for part in get_args(annotation) for found in _models(part)]


def type_words(annotation: Any, metadata: list[Any] | tuple[Any, ...] = ()) -> str:
    """What may be written for an annotation, in words.

    Example:
        >>> from pydantic import Field
        >>> type_words(tuple[Annotated[int, Field(ge=1)], ...] | None)
        'list of integer, at least 1'
        >>> type_words(Literal["mean", "sum"])
        '`"mean"` or `"sum"`'
    """
    for item in metadata:
        if isinstance(item, FieldInfo):
            metadata = [*metadata, *item.metadata]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_words(arguments[0], [*arguments[1:], *metadata])
    if origin in (Union, UnionType):
        words = " or ".join(dict.fromkeys(filter(None, (type_words(part) for part in arguments))))
    elif origin is Literal:
        words = " or ".join(f"`{json.dumps(value)}`" for value in arguments)
    elif origin is tuple:
        count = "" if arguments[-1] is Ellipsis else f"{len(arguments)} times "
        words = f"list of {count}{type_words(arguments[0])}"
    elif origin is dict:
        words = f"table of {type_words(arguments[1])}"
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        words = _model_words(annotation)
    else:
        words = _WORDS[annotation]
    return ", ".join([words, *_bounds(metadata)])


def _model_words(model: Model) -> str:
    if not _is_inline(model):
        return "table"
    ((name, field),) = model.model_fields.items()
    return f"`{{ {name} = … }}` ({type_words(field.annotation)})"


def _bounds(metadata: list[Any] | tuple[Any, ...]) -> Iterator[str]:
    said = {name: getattr(item, name) for item in metadata for name in (*_BOUNDS, *_LENGTHS) if hasattr(item, name)}
    for name, words in _BOUNDS.items():
        if said.get(name) is not None:
            yield words.format(f"{said[name]:,}")
    least, most, pattern = (said.get(name) for name in _LENGTHS)
    if least is not None and least == most:
        yield f"of length {least}"
    elif least is not None:
        yield "not empty" if least == 1 else f"of length {least} at least"
    if pattern is not None:
        yield f"like `{pattern}`"


def _default_words(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "not set"
    if isinstance(value, BaseModel):
        kind = getattr(value, "kind", None)
        return "its defaults" if kind is None else f'default: kind `"{kind}"`'
    if value == {} or value == ():
        return "empty"
    return f"default `{json.dumps(list(value) if isinstance(value, tuple) else value)}`"


def recipe_markdown() -> str:
    """The whole reference."""
    parts: list[str] = []
    of_kinds = ""
    anchors = {_slug(path): _anchor(section.paths) for section in sections() for path in section.paths}
    plain = {section.paths for section in sections() if section.kind is None}
    for section in sections():
        title = _title(section)
        if section.kind is not None:
            place = " / ".join(section.paths)
            if place != of_kinds:
                of_kinds = place
                if section.paths not in plain:
                    parts.append(f"## {_tables(section.paths)} {{ #{_anchor(section.paths)} }}\n\nOne of these kinds:")
            parts.append(f"### {title} {{ #{_anchor(section.paths)}-{section.kind} }}")
        else:
            parts.append(f"## {title} {{ #{_anchor(section.paths)} }}")
        parts.append(section.intro)
        prefix = f"{_anchor(section.paths)}-{section.kind}" if section.kind else _anchor(section.paths)
        parts += [_entry(key, prefix, anchors) for key in section.keys]
    return "\n\n".join(parts)


def _title(section: Section) -> str:
    if section.kind is not None:
        return f'`kind = "{section.kind}"`'
    return _tables(section.paths) if section.paths != ("",) else "The recipe itself"


def _tables(paths: tuple[str, ...]) -> str:
    """The headers of TOML: ``[a.b]``, or ``[[a.b]]`` for each entry of a list; inline where a list's entry holds the table."""
    return ", ".join(f"`[[{path.removesuffix('[]')}]]`" if path.endswith("[]") else f"`{_inline(path)}`" for path in paths)


def _inline(path: str) -> str:
    outer, there, name = path.partition("[].")
    return f"[[{outer}]] {name} = {{ … }}" if there else f"[{path}]"


def _anchor(paths: tuple[str, ...]) -> str:
    return _slug(paths[0]) or "recipe"


def _slug(path: str) -> str:
    return re.sub(r"\W+", "-", path).strip("-")


def _entry(key: Key, prefix: str, anchors: dict[str, str]) -> str:
    """A definition: the key with what may be written, and what it means; a table is linked to its section."""
    if key.holds_table:
        head = f"[`{key.name}`](#{anchors[_slug(f'{prefix}.{key.name}'.removeprefix('recipe.'))]})"
    else:
        head = f"`{key.name}`{{ #{prefix}-{key.name} }}"
    words = f'<span class="key-type">{key.type_words}</span> <span class="key-default">{key.default}</span>'
    return f"{head} {words}\n\n:   {key.meaning}"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs for every page."""
    return markdown.replace(MARK, recipe_markdown()) if MARK in markdown else markdown
