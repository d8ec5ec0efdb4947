from __future__ import annotations

import math

from twotower.diagnosis import TrainLoss, check_train_loss


def test_a_loss_at_the_logarithm_of_the_candidates_is_stuck() -> None:
    finding = check_train_loss(TrainLoss(measured=math.log(100) - 0.01, uninformed=math.log(100), first=4.61, batches=4))
    assert finding is not None
    assert finding.code == "stuck_loss"
    assert "the logarithm of 100 candidates; training recorded 4.610" in finding.evidence[0]


def test_a_loss_above_it_is_stuck_and_one_below_it_is_not() -> None:
    assert check_train_loss(TrainLoss(9.0, math.log(100))) is not None
    assert check_train_loss(TrainLoss(0.97 * math.log(100), math.log(100))) is None
    assert check_train_loss(TrainLoss(0.99 * math.log(100), math.log(100))) is not None


def test_one_candidate_leaves_nothing_to_learn() -> None:
    assert check_train_loss(TrainLoss(0.0, 0.0)) is None
