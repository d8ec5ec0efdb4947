"""What ``import twotower`` gives, and that it costs nothing until it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import twotower


def test_the_public_names_are_the_ones_that_they_say() -> None:
    from twotower import errors, recommender, runs

    assert twotower.run is runs.run
    assert twotower.read_recipe is runs.read_recipe
    assert twotower.parse_recipe is runs.parse_recipe
    assert twotower.Recipe is runs.Recipe
    assert twotower.RunResult is runs.RunResult
    assert twotower.evaluate_run is runs.reevaluate
    assert twotower.compare is runs.compare
    assert twotower.judge_baselines is runs.judge_baselines
    assert twotower.report_runs is runs.report_runs
    assert twotower.diagnose is runs.diagnose
    assert twotower.Recommender is recommender.Recommender
    assert twotower.load is recommender.load
    assert twotower.TwotowerError is errors.TwotowerError
    assert isinstance(twotower.__version__, str)


def test_every_public_name_is_there_and_listed() -> None:
    for name in twotower.__all__:
        assert getattr(twotower, name) is not None
        assert name in dir(twotower)


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'recomender'"):
        _ = twotower.recomender


def test_importing_imports_nothing_heavy() -> None:
    program = "import sys, twotower; assert not {'torch', 'polars', 'numpy', 'pydantic', 'rich'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
