"""``twotower baselines``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from twotower.cli.output import figure, print_json, print_lines, print_table
from twotower.errors import ConfigError
from twotower.runs import load_tables, read_recipe
from twotower.runs.baselines import judge_baselines

__all__ = ["baselines_command"]

_VARIANTS = {"seen_included": "seen items included", "seen_removed": "seen items removed"}
_GROUPS = {
    "warm": "users with train rows ({warm_rows:,} rows)",
    "cold": "users without train rows ({cold_rows:,} rows)",
    "cold_items": "items without train rows ({cold_item_rows:,} rows)",
    "frozen": "histories and seen items frozen at the cut",
    "per_user": "per user ({users:,} users, one list each)",
}
_LISTS = {"coverage@10": "coverage", "gini@10": "Gini", "popularity_lift@10": "popularity lift", "novelty@10": "novelty (bits)"}


def baselines_command(
    recipe_path: Path, overrides: Sequence[str], *, only: Sequence[str] | None, segments: Sequence[str] | None, as_json: bool
) -> None:
    """Fit and judge the baselines of a recipe, and print them side by side."""
    recipe = read_recipe(recipe_path, overrides=overrides)
    if segments:
        if only and "segment_popularity" not in only:
            raise ConfigError("--segment changes segment_popularity, which is not among --only: add it, or leave --segment out")
        columns = tuple(tuple(name.strip() for name in segment.split(",") if name.strip()) for segment in segments)
        if not all(columns):
            raise ConfigError("--segment: name a column, or several with commas between them")
        recipe = recipe.model_copy(update={"baselines": recipe.baselines.model_copy(update={"segments": columns})})
    with _telling() as tell:
        found = judge_baselines(recipe, load_tables(recipe), only or None, tell).figures
    if as_json:
        print_json(found)
    else:
        _print(found)


@contextmanager
def _telling() -> Iterator[Callable[[str], None]]:
    """What is being done, on one line of stderr that goes away; nothing where stderr is no terminal."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _say_nothing
        return
    with console.status("reading the tables") as status:
        yield lambda sentence: status.update(Text(sentence))  # a column called [a] is no style


def _say_nothing(sentence: str) -> None:
    del sentence


def _print(found: Mapping[str, Any]) -> None:
    counts, metric = found["evaluation"], found["metric"]
    print_lines(
        f"{found['recipe']}: {found['rows']['test']:,} test rows of {counts['users']:,} users, "
        f"each against all {counts['catalogue']:,} items"
    )
    if counts["not_in_catalogue"]:
        print_lines(f"{counts['not_in_catalogue']:,} of them ask for an item that the catalogue lacks, and count as missed")
    shown = metric.removesuffix(" removed")
    recalls = [key for key in next(iter(found["baselines"].values()))["seen_included"] if key.startswith("recall@")]
    keys = list(dict.fromkeys([*(key for key in recalls if key in ("recall@10", recalls[-1])), "ndcg@10", shown]))
    drawn = all(shown in of["intervals"]["seen_included"] for of in found["details"].values())
    header = ["", *keys, *([f"95% of {shown}"] if drawn else [])]
    for variant, title in _VARIANTS.items():
        print_lines("")
        print_table(title, header, list(_rows(found, variant, keys, shown)), left=[""])
    for group, title in _GROUPS.items():
        rows = [
            [name, *(figure(details[group][variant][shown]) for variant in _VARIANTS)]
            for name, details in found["details"].items()
            if group in details
        ]
        if rows:
            print_lines("")
            print_table(f"{shown}, {title.format(**counts)}", ["", *_VARIANTS.values()], rows, left=[""])
    print_lines("")
    lists = [[name, *(figure(of[key]) if key in of else "" for key in _LISTS)] for name, of in found["lists"].items()]
    print_table("the first 10, seen items removed, one list per user", ["", *_LISTS.values()], lists, left=[""])
    print_lines("")
    _print_fits(found)


def _rows(found: Mapping[str, Any], variant: str, keys: Sequence[str], shown: str) -> Iterator[list[str]]:
    for name, figures in found["baselines"].items():
        ends = found["details"][name]["intervals"][variant].get(shown)
        yield [
            name,
            *(figure(figures[variant][key]) for key in keys),
            *([] if ends is None else [f"{figure(ends[0])} to {figure(ends[1])}"]),
        ]


def _print_fits(found: Mapping[str, Any]) -> None:
    rows = []
    for name, fit in found["fits"].items():
        chosen = ", ".join(f"{key} {value}" for key, value in fit["settings"].items())
        value = "" if fit["validation"] is None else figure(fit["validation"])
        rows.append([name, chosen, value, f"{fit['seconds']:.1f}"] if fit["skipped"] is None else [name, "skipped", "", ""])
    print_table("", ["", "settings", found["metric"], "seconds"], rows, left=["", "settings"])
    if any(fit["validation"] is not None for fit in found["fits"].values()):
        print_lines(f"chosen on {found['chosen_on']:,} validation rows by the best {found['metric']}")
    for name, fit in found["fits"].items():
        if fit["skipped"] is not None:
            print_lines(f"{name} was skipped: {fit['skipped']}")
