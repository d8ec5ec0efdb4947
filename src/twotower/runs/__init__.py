"""Recipe in, run folder out."""

from twotower.runs.baselines import BaselinesResult, FittedBaseline, fit_baselines, judge_baselines
from twotower.runs.compare import Comparison, compare
from twotower.runs.diagnose import diagnose, diagnose_run
from twotower.runs.explain import explain
from twotower.runs.load_run import LoadedRun, load_run
from twotower.runs.measure_machine import measure_machine
from twotower.runs.plan import AskedSizes, plan_facts, plan_recipe
from twotower.runs.read_recipe import parse_recipe, read_recipe
from twotower.runs.recipe import Recipe
from twotower.runs.reevaluate import reevaluate
from twotower.runs.report import ReportResult, report_runs
from twotower.runs.run import RunListener, RunResult, run
from twotower.runs.run_folder import RunFolder
from twotower.runs.tables import Tables, load_tables
from twotower.runs.tuning import TuningResult, tune
from twotower.runs.tuning_report import report_tuning

__all__ = [
    "AskedSizes",
    "BaselinesResult",
    "Comparison",
    "FittedBaseline",
    "LoadedRun",
    "Recipe",
    "ReportResult",
    "RunFolder",
    "RunListener",
    "RunResult",
    "Tables",
    "TuningResult",
    "compare",
    "diagnose",
    "diagnose_run",
    "explain",
    "fit_baselines",
    "judge_baselines",
    "load_run",
    "load_tables",
    "measure_machine",
    "parse_recipe",
    "plan_facts",
    "plan_recipe",
    "read_recipe",
    "reevaluate",
    "report_runs",
    "report_tuning",
    "run",
    "tune",
]
