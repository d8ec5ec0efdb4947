"""What the bar says of a step."""

from __future__ import annotations

import pytest

from twotower.cli.progress import RunProgress
from twotower.training import StepDone, TrainingStarted


@pytest.mark.parametrize(
    ("losses", "shown"),
    [({}, "loss 1.250"), ({"retrieval": 1.0, "stars": 0.5}, "loss 1.250 (retrieval 1.000, stars 0.500)")],
)
def test_every_loss_is_shown_where_there_is_more_than_one(losses: dict[str, float], shown: str) -> None:
    with RunProgress("recall@1") as progress:
        progress("select", TrainingStarted(epoch=0, batch=0, epochs=1, batches=2, rows=4))
        progress("select", StepDone(epoch=0, batch=1, step=1, rows=2, loss=1.25, losses=losses))
        assert progress.progress.tasks[-1].fields["loss"] == shown
