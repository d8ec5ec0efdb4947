from __future__ import annotations

from dataclasses import replace

from twotower.diagnosis import Importance, Importances, check_features

USEFUL = Importance("history", "query", 0.10, 0.08, 0.12)
IDLE = Importance("gender", "query", 0.0003, -0.002, 0.0025)
UNSURE = Importance("age", "query", 0.0, -0.02, 0.02)
ALL = Importances("recall@100", 0.6, 4000, (USEFUL, IDLE, UNSURE))


def test_a_feature_whose_whole_interval_is_next_to_nothing() -> None:
    finding = check_features(ALL)
    assert finding is not None
    assert finding.title == "Features carry nothing: 'gender'"
    assert "recall@100 is 0.6000, and falls by 0.0003 (-0.0020 to +0.0025)" in finding.evidence[0]
    assert finding.fix == ("query.features: leave out 'gender', and compare on validation rows",)


def test_a_wide_interval_proves_nothing() -> None:
    assert check_features(replace(ALL, features=(USEFUL, UNSURE))) is None


def test_no_change_in_few_rows_proves_nothing() -> None:
    still = replace(IDLE, drop=0.0, low=0.0, high=0.0)
    assert check_features(replace(ALL, features=(still,), rows=900)) is None
    assert check_features(replace(ALL, features=(still,), rows=1100)) is not None


def test_the_same_interval_is_something_where_the_figure_is_small() -> None:
    assert check_features(replace(ALL, figure=0.1)) is None


def test_features_that_are_of_use_together_are_not_idle() -> None:
    twin = replace(IDLE, feature="sex")
    both = replace(ALL, features=(IDLE, twin), together=replace(USEFUL, feature="together"))
    assert check_features(both) is None
    finding = check_features(replace(both, together=replace(IDLE, feature="together")))
    assert finding is not None
    assert len(finding.evidence) == 2


def test_a_constant_is_idle_whatever_else() -> None:
    constant = Importance("shop", "candidate", 0.0, 0.0, 0.0, constant=True)
    finding = check_features(replace(ALL, features=(USEFUL, constant, IDLE), together=USEFUL))
    assert finding is not None
    assert finding.evidence == ("'shop' (candidate) has the same value in every row",)
