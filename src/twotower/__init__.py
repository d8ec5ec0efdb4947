"""twotower: deep retrieval with a query tower and a candidate tower.

    recipe = twotower.read_recipe("recipe.toml")
    result = twotower.run(recipe, "runs/first")
    recommender = twotower.load("runs/first")
    recommender.recommend(["ann"], k=10).frame

Importing the package imports neither torch nor anything else that is heavy; each name is looked up when it is first used.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # from the files themselves: a type checker takes `twotower.runs.run` for the file of that name
    from twotower.errors import TwotowerError
    from twotower.recommender.recommender import Recommender, load
    from twotower.runs.baselines import judge_baselines
    from twotower.runs.compare import compare
    from twotower.runs.diagnose import diagnose
    from twotower.runs.read_recipe import parse_recipe, read_recipe
    from twotower.runs.recipe import Recipe
    from twotower.runs.reevaluate import reevaluate as evaluate_run
    from twotower.runs.report import report_runs
    from twotower.runs.run import RunResult, run
    from twotower.runs.tuning import tune

try:
    __version__ = version("twotower")
except PackageNotFoundError:  # running from a source tree that was never installed
    __version__ = "0.0.0"

__all__ = [
    "Recipe",
    "Recommender",
    "RunResult",
    "TwotowerError",
    "__version__",
    "compare",
    "diagnose",
    "evaluate_run",
    "judge_baselines",
    "load",
    "parse_recipe",
    "read_recipe",
    "report_runs",
    "run",
    "tune",
]

_PLACES = {
    "Recipe": ("twotower.runs", "Recipe"),
    "Recommender": ("twotower.recommender", "Recommender"),
    "RunResult": ("twotower.runs", "RunResult"),
    "TwotowerError": ("twotower.errors", "TwotowerError"),
    "compare": ("twotower.runs", "compare"),
    "diagnose": ("twotower.runs", "diagnose"),
    "evaluate_run": ("twotower.runs", "reevaluate"),
    "judge_baselines": ("twotower.runs", "judge_baselines"),
    "load": ("twotower.recommender", "load"),
    "parse_recipe": ("twotower.runs", "parse_recipe"),
    "read_recipe": ("twotower.runs", "read_recipe"),
    "report_runs": ("twotower.runs", "report_runs"),
    "run": ("twotower.runs", "run"),
    "tune": ("twotower.runs", "tune"),
}


def __getattr__(name: str) -> Any:
    """Import a public name where it lives (PEP 562)."""
    if name not in _PLACES:
        raise AttributeError(f"module 'twotower' has no attribute {name!r}")
    module, attribute = _PLACES[name]
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
