from __future__ import annotations

from twotower.diagnosis import UnknownValues, check_vocabulary


def test_few_unknown_values_with_a_trained_row_are_no_finding() -> None:
    assert check_vocabulary((UnknownValues("user", "query", test=0.4, train=0.0, trained=True),)) is None
    assert check_vocabulary((UnknownValues("user", "query", test=0.005, train=0.0, trained=False),)) is None
    assert check_vocabulary(()) is None


def test_a_row_that_nothing_has_trained() -> None:
    finding = check_vocabulary((UnknownValues("user", "query", test=0.05, train=0.0, trained=False),))
    assert finding is not None
    assert finding.severity == "fault"
    assert "still at its random start" in finding.evidence[0]
    assert finding.fix == ("query.features: embedding.id_dropout = 0.01 for 'user', or min_count = 2",)


def test_a_feature_that_is_mostly_unknown() -> None:
    finding = check_vocabulary((UnknownValues("item", "candidate", test=0.8, train=0.1, trained=True),))
    assert finding is not None
    assert finding.severity == "warning"
    assert "80% of the values of 'item' (candidate) in test rows are unknown, 10% in train rows" in finding.evidence[0]
