"""``twotower inspect``."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import polars as pl

from twotower.bundle import open_bundle
from twotower.bundle.atomic import write_text
from twotower.cache_root import cache_root
from twotower.cli.first_fields import first_fields
from twotower.cli.output import print_json, print_lines, print_table
from twotower.cli.progress import RunProgress
from twotower.cli.verdict import print_verdict
from twotower.cli.warm_start import lineage_lines, warm_start_line
from twotower.columnar import open_table
from twotower.config import parse_config
from twotower.data import TableConfig
from twotower.data.source_files import is_url
from twotower.errors import ConfigError
from twotower.runs.column_roles import Roles, roles_of
from twotower.runs.column_suggestions import column_suggestions
from twotower.runs.read_recipe import parse_recipe
from twotower.runs.sources import is_converted
from twotower.runs.suggest import suggest_recipe
from twotower.runs.table_facts import ColumnFacts, TableFacts, table_facts

__all__ = ["TableOptions", "inspect_command"]


@dataclass(frozen=True)
class TableOptions:
    """How a table is to be read, what is known of its columns, and where a recipe goes.

    Attributes:
        separator: Of text files; None: by the name.
        header: Whether the first row of a text file names the columns.
        columns: Names of the columns in place of the header's, or where there is none.
        on_bad_rows: What to do with rows that can't be read.
        user: Column of user ids; None: guess.
        item: Column of item ids; None: guess.
        time: Column of times; None: guess.
        recipe: File to write a first recipe to; None: write none.
        force: Write over a file that is there.
    """

    separator: str | None = None
    header: bool = True
    columns: str | None = None
    on_bad_rows: str = "error"
    user: str | None = None
    item: str | None = None
    time: str | None = None
    recipe: Path | None = None
    force: bool = False


def inspect_command(path: str, options: TableOptions, *, as_json: bool) -> None:
    """Print what is in a table, a bundle or a run; of a table also write a first recipe."""
    folder = Path(path)
    if (folder / "manifest.json").exists():
        _bundle(folder, as_json)
    elif (folder / "recipe.json").exists():
        _run(folder, as_json)
    else:
        _table(path, options, as_json)


def _table(path: str, options: TableOptions, as_json: bool) -> None:
    if options.recipe is not None and options.recipe.exists() and not options.force:
        raise ConfigError(f"{options.recipe} exists already; write over it with --force, or name another file")
    table = _table_config(path, options)
    frame, account, is_converted = _read(table)
    facts = table_facts(frame)
    wanted = options.recipe or options.user or options.item or options.time
    roles, fault = None, ""
    try:
        roles = roles_of(facts, user=options.user, item=options.item, time=options.time)
    except ConfigError as error:
        if wanted:
            raise
        fault = str(error)
    suggestions = column_suggestions(facts, roles)
    if options.recipe is not None and roles is not None:
        _write(
            options.recipe, suggest_recipe(facts, roles, _as_seen_from(table, options.recipe), declare_types=not is_converted)
        )
    if as_json:
        print_json(_as_json(path, facts, suggestions, roles, fault, account, options.recipe))
        return
    header = ["column", "type", "missing", "distinct", "range", "example", "suggested", "why"]
    rows = [
        [
            column.name,
            column.dtype,
            f"{column.missing / max(1, facts.rows):.1%}",
            f"{column.distinct:,}",
            _range(column),
            _short(column.example),
            *suggestions[column.name],
        ]
        for column in facts.columns
    ]
    left = [name for name in header if name not in ("missing", "distinct")]
    print_table(f"{path}: {facts.rows:,} rows", header, rows, left=left)
    unsure = [f"not sure: {sentence}" for sentence in roles.unsure] if roles is not None else [f"not suggested: {fault}"]
    written = (
        ""
        if options.recipe is None
        else f"written: {options.recipe}; train it with: twotower train {quote(str(options.recipe))}"
    )
    more = f"a first recipe: twotower inspect {quote(path)} --write-recipe recipe.toml" if roles is not None else ""
    print_lines("", *account, *unsure, *filter(None, [written or more]))


def _read(table: TableConfig) -> tuple[pl.DataFrame, list[str], bool]:
    """The table, what is to be said of reading it, and whether it was so large that it was converted."""
    if not is_converted(table, noun="table"):  # as training does from the same size, which then finds it in the cache
        found = table.read_with_report()
        return found.frame, found.report.lines(), False
    with RunProgress("") as progress:
        opened = open_table(
            table,
            noun="table",
            base_dir=None,
            cache_dir=cache_root(None),
            listener=lambda event: progress("reading", event),
        )
    return opened.frame, opened.report.lines(), True


def _as_json(
    path: str,
    facts: TableFacts,
    suggestions: Mapping[str, tuple[str, str]],
    roles: Roles | None,
    fault: str,
    account: Sequence[str],
    recipe: Path | None,
) -> dict[str, Any]:
    columns = [
        {
            "name": column.name,
            "type": column.dtype,
            "missing_fraction": column.missing / max(1, facts.rows),
            "distinct": column.distinct,
            "least": column.least,
            "greatest": column.greatest,
            "example": column.example,
            "suggested": suggestions[column.name][0],
            "why": suggestions[column.name][1],
        }
        for column in facts.columns
    ]
    return {
        "path": path,
        "rows": facts.rows,
        "columns": columns,
        "account": list(account),
        "unsure": [fault] if roles is None else list(roles.unsure),
        "recipe": None if recipe is None else str(recipe),
    }


def _table_config(path: str, options: TableOptions) -> TableConfig:
    """How the table is read; where no header names the columns, they are ``column_1`` and so on."""
    names = None if options.columns is None else [name.strip() for name in options.columns.split(",")]
    values: dict[str, Any] = {"path": path}
    if options.separator is not None:
        parse_config(TableConfig, {"path": path, "separator": options.separator})  # before it cuts the first line
    first = None if names is not None and not options.header else first_fields(path, options.separator)
    if options.separator is not None:
        values["separator"] = options.separator
    if options.on_bad_rows != "error":
        values["on_bad_rows"] = options.on_bad_rows
    if first and options.header and first[0] == "" and len(first) > 1:
        values["index_column"] = True  # as pandas writes it: a row number without a name
    if names is not None:
        values |= {"header": "skip" if options.header else False, "columns": names}
    elif not options.header and first:
        values |= {"header": False, "columns": [f"column_{place}" for place in range(1, len(first) + 1)]}
    return parse_config(TableConfig, values)


def _as_seen_from(table: TableConfig, recipe: Path) -> TableConfig:
    """The table with its path as the recipe must have it."""
    if is_url(table.path) or Path(table.path).is_absolute():
        return table
    relative = os.path.relpath(Path(table.path).absolute(), recipe.absolute().parent)
    return table.model_copy(update={"path": Path(relative).as_posix()})


def _write(recipe: Path, text: str) -> None:
    parse_recipe(tomllib.loads(text), source=str(recipe))
    write_text(recipe, text)


def _range(column: ColumnFacts) -> str:
    return "" if column.least is None else f"{column.least} to {column.greatest}"


def _short(value: Any, longest: int = 40) -> str:
    if value is None:
        return ""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _bundle(path: Path, as_json: bool) -> None:
    bundle = open_bundle(path)
    manifest = bundle.manifest
    if as_json:
        print_json(manifest.model_dump(mode="json"))
        return
    print_lines(
        f"{path}: bundle, format {manifest.format_version}, written {manifest.created_at} by twotower "
        f"{manifest.library_version}; every checksum holds",
    )
    rows = [[name, part.file, f"{part.size_bytes:,}", part.sha256[:12]] for name, part in sorted(manifest.parts.items())]
    print_table("", ["part", "file", "bytes", "sha256"], rows, left=["part", "file", "sha256"])
    print_lines("")
    if isinstance(result := bundle.card.get("result"), dict):
        print_verdict(result)
    if "trained_on" in bundle.card:
        print_lines(f"trained on: {bundle.card['trained_on']}")
    print_lines(*lineage_lines(bundle.card))


def _run(path: Path, as_json: bool) -> None:
    result = path / "result.json"
    if not result.exists():
        state = {"run_dir": str(path), "finished": False}
        if as_json:
            print_json(state)
        else:
            print_lines(
                f"{path}: a run that has not finished; go on with: twotower train RECIPE --run-dir {quote(str(path))} --resume"
            )
        return
    summary = json.loads(result.read_text(encoding="utf-8"))
    if as_json:
        print_json({"finished": True, **{key: value for key, value in summary.items() if key != "details"}})
        return
    print_verdict(summary)
    if "warm_start" in summary:
        print_lines(warm_start_line(summary["warm_start"]))
    print_lines(f"bundle: {path / 'bundle'}")
