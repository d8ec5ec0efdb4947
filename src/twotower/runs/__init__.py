"""Recipe in, run folder out."""

from twotower.runs.load_run import LoadedRun, load_run
from twotower.runs.read_recipe import parse_recipe, read_recipe
from twotower.runs.recipe import Recipe
from twotower.runs.reevaluate import reevaluate
from twotower.runs.run import RunListener, RunResult, run
from twotower.runs.run_folder import RunFolder
from twotower.runs.tables import Tables, load_tables

__all__ = [
    "LoadedRun",
    "Recipe",
    "RunFolder",
    "RunListener",
    "RunResult",
    "Tables",
    "load_run",
    "load_tables",
    "parse_recipe",
    "read_recipe",
    "reevaluate",
    "run",
]
