"""The commands and their options; what they do is in the file of their name."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import twotower
from twotower.cli.arguments import AsJson, RunPath
from twotower.cli.commands import Commands
from twotower.cli.export_options import export
from twotower.cli.plan_options import plan
from twotower.cli.recommend_options import recommend, similar
from twotower.cli.train_options import train
from twotower.cli.tune_options import tune

__all__ = ["app"]

app = typer.Typer(
    name="twotower",
    help="Deep retrieval: train, judge and use two-tower recommenders.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    cls=Commands,
)


class Device(StrEnum):
    """Where a command computes."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


class CacheAction(StrEnum):
    """What ``twotower cache`` does."""

    LS = "ls"
    RM = "rm"


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(twotower.__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    del version


app.command()(train)


@app.command()
def evaluate(
    run: RunPath,
    device: Annotated[Device | None, typer.Option(help="Where to judge; by default as the recipe says.")] = None,
    as_json: AsJson = False,
) -> None:
    """Judge a finished run again, from its bundle, on its test rows."""
    from twotower.cli.evaluate import evaluate_command

    evaluate_command(run, device=None if device is None else device.value, as_json=as_json)


@app.command()
def compare(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe (TOML).")],
    over: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=A;B;...", help="A key and its values: 'model.layer_sizes=[32];[64,32]'. Repeatable: every combination."
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Training seeds for each: the recipe's own and the ones after it.")] = 1,
    jobs: Annotated[int | None, typer.Option(min=1, help="Runs at a time; by default one per core, at most 4.")] = None,
    run_dir: Annotated[Path | None, typer.Option(help="A folder for all runs; by default runs/NAME-compare.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key for all. Repeatable.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="What to rank by: recall@K, ndcg@K or mrr.")] = None,
    seen: Annotated[str | None, typer.Option(metavar="included|removed", help="Whether seen items compete.")] = None,
    baseline: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A baseline to judge beside; by default all. Repeatable.")
    ] = None,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Also draw the page of all runs (extra report).")] = True,
    as_json: AsJson = False,
) -> None:
    """Train every combination of settings, and say which is better, and whether the test rows can show it.

    The same command goes on where it was interrupted.
    """
    from twotower.cli.compare import compare_command

    if seen not in (None, "included", "removed"):
        raise typer.BadParameter(f"included or removed; came {seen!r}", param_hint="--seen")
    compare_command(
        recipe,
        over or [],
        settings or [],
        seeds=seeds,
        jobs=jobs,
        run_dir=run_dir,
        metric=metric,
        removed=None if seen is None else seen == "removed",
        baselines=baseline,
        report=report,
        as_json=as_json,
    )


app.command()(tune)
app.command()(plan)


@app.command()
def baselines(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe (TOML).")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key: split.test=0.1. Repeatable.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Judge this baseline alone. Repeatable.")] = None,
    segment: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN[,COLUMN]", help="Count popularity within its values; the best is chosen. Repeatable."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Judge rankers without a tower on a recipe's test rows; nothing is trained."""
    from twotower.cli.baselines import baselines_command

    baselines_command(recipe, settings or [], only=only, segments=segment, as_json=as_json)


@app.command()
def diagnose(
    run: RunPath,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if anything is found.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look for what people get wrong in retrieval models: evidence, why it matters, and the fix."""
    from twotower.cli.diagnose import diagnose_command

    diagnose_command(run, strict=strict, as_json=as_json)


@app.command()
def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders of finished runs; the report is about the first.")
    ],
    output: Annotated[Path | None, typer.Option(help="The report's folder; by default RUN/report, for a single run.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="What to call a run; once for each, in their order.")
    ] = None,
    baselines: Annotated[bool, typer.Option("--baselines/--no-baselines", help="Fit and judge every baseline beside.")] = True,
    diagnosis: Annotated[
        bool, typer.Option("--diagnosis/--no-diagnosis", help="Look for what is wrong with the first run.")
    ] = True,
    users: Annotated[int, typer.Option(min=0, help="How many example users to show.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Write a page about one run, or several side by side: report.html, its figures as JSON, its charts as PNGs."""
    from twotower.cli.report import report_command

    report_command(runs, output, labels=label or None, baselines=baselines, diagnosis=diagnosis, users=users, as_json=as_json)


app.command()(recommend)
app.command()(similar)
app.command()(export)


@app.command()
def inspect(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A table (file, folder, glob or URL), a bundle or a run folder.")],
    separator: Annotated[str | None, typer.Option(help="Of a text table; a comma or, for .tsv, a tab by default.")] = None,
    no_header: Annotated[
        bool, typer.Option("--no-header", help="The first row of a text table does not name its columns.")
    ] = False,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME,...", help="Names of a text table's columns, in place of its header or where it has none."
        ),
    ] = None,
    on_bad_rows: Annotated[str, typer.Option(metavar="error|skip", help="What to do with rows that can't be read.")] = "error",
    user: Annotated[str | None, typer.Option(metavar="COLUMN", help="The column of user ids; guessed by default.")] = None,
    item: Annotated[str | None, typer.Option(metavar="COLUMN", help="The column of item ids; guessed by default.")] = None,
    time: Annotated[str | None, typer.Option(metavar="COLUMN", help="The column of times; guessed by default.")] = None,
    write_recipe: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a first recipe for the table.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a recipe that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """What is in a table, a bundle or a run; of a table, what each column could be in a recipe."""
    from twotower.cli.inspect import TableOptions, inspect_command

    options = TableOptions(
        separator=separator,
        header=not no_header,
        columns=columns,
        on_bad_rows=on_bad_rows,
        user=user,
        item=item,
        time=time,
        recipe=write_recipe,
        force=force,
    )
    inspect_command(path, options, as_json=as_json)


@app.command()
def synth(
    world: Annotated[str, typer.Argument(metavar="WORLD", help="livestream: who watched whose live stream, 18 columns.")],
    out: Annotated[
        Path,
        typer.Option(help="The log: a file .csv or .parquet; or, with --format parquet, a name without suffix for a folder."),
    ],
    rows: Annotated[int, typer.Option(help="How many.")] = 500_000,
    seed: Annotated[int, typer.Option(help="The same rows and seed give the same bytes.")] = 0,
    format_: Annotated[
        str | None, typer.Option("--format", metavar="csv|parquet", help="By default what the suffix says.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a planted log of any size, and beside it what is needed to know the best that any ranker can do."""
    from twotower.cli.synth import synth_command

    synth_command(world, out, rows=rows, seed=seed, format=format_, as_json=as_json)


@app.command()
def cache(
    action: Annotated[CacheAction, typer.Argument(metavar="ls|rm", help="List the tables, or delete some.")],
    keys: Annotated[
        list[str] | None, typer.Argument(metavar="KEY", help="Tables to delete, by the first characters of their keys.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Delete every table.")] = False,
    older_than: Annotated[
        float | None, typer.Option(min=0, metavar="DAYS", help="Delete tables that nobody opened for so many days.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Large tables that were converted to be read faster: which there are, and which may go."""
    from twotower.cli.cache import cache_command

    cache_command(action.value, keys or [], everything=everything, older_than=older_than, as_json=as_json)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Versions, devices, threads and extras of this installation."""
    from twotower.cli.doctor import doctor_command

    doctor_command(as_json=as_json)
