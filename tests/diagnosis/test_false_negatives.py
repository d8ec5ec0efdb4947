from __future__ import annotations

from dataclasses import replace

from twotower.diagnosis import BatchNegatives, check_negatives

SOUND = BatchNegatives(queries=500, competitors=2047, own_copies=0, own_nats=0, known_share=0.19, whole_catalogue=False)


def test_a_few_known_positives_are_no_finding() -> None:
    assert check_negatives(SOUND) is None


def test_copies_of_the_own_item() -> None:
    finding = check_negatives(replace(SOUND, own_copies=3.7, own_nats=1.2))
    assert finding is not None
    assert finding.fix[0] == "loss.mask_accidental_hits = true"
    assert "3.7 further copies" in finding.evidence[0]
    assert check_negatives(replace(SOUND, own_copies=0.05, own_nats=0.04)) is None


def test_known_positives() -> None:
    finding = check_negatives(replace(SOUND, known_share=0.25))
    assert finding is not None
    assert finding.fix[0] == "loss.mask_known_positives = true"
    assert finding.evidence[0].startswith("25% of the negatives that a query meets in a batch")
    whole = check_negatives(replace(SOUND, known_share=0.25, whole_catalogue=True))
    assert whole is not None
    assert "in the catalogue" in whole.evidence[0]
