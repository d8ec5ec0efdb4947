"""What the bar says of a step."""

from __future__ import annotations

import pytest

from twotower.cli.progress import RunProgress
from twotower.columnar import Converting
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


def test_a_conversion_is_drawn_by_bytes_with_its_rate(capsys: pytest.CaptureFixture[str]) -> None:
    with RunProgress("recall@1") as progress:
        progress("data", Converting(0, 0, 0, 0.0, "waiting for another process that converts the same table"))
        assert progress.progress.tasks == []
        progress("data", Converting(0, 0, 1000, 0.0, "converted for the first time"))
        progress("data", Converting(600, 250, 1000, 2.0, "converted for the first time"))
        (task,) = progress.progress.tasks
        assert (task.completed, task.total) == (250, 1000)
        assert (task.fields["rate"], task.fields["loss"], task.fields["figure"]) == ("300 rows/s", "600 rows", "")
        progress("data", Converting(600, 1250, 2000, 2.0, "converted for the first time"))
        assert progress.progress.tasks[0].total == 2000
        progress("data", Converting(2400, 2000, 2000, 8.0, "converted for the first time"))
        assert progress.progress.tasks[0].fields["figure"] == "writing"
        progress("data", "2,400 rows read")
        assert progress.progress.tasks == []
    assert capsys.readouterr().err == ""  # no terminal


def test_why_a_table_is_converted_again_is_said_wherever_the_lines_go(capsys: pytest.CaptureFixture[str]) -> None:
    with RunProgress("recall@1") as progress:
        for seconds in (0.0, 1.0):
            progress(
                "data", Converting(0, 0, 1000, seconds, "converted again: in the cache 0000.values is missing", again=True)
            )
    assert capsys.readouterr().err == "reading: the table is converted again: in the cache 0000.values is missing\n"


def test_checkpoints_that_were_passed_over_are_said_wherever_the_lines_go(capsys: pytest.CaptureFixture[str]) -> None:
    with RunProgress("recall@1") as progress:
        progress("select", TrainingStarted(1, 0, 2, 3, 4, (), ("ranks/last/00000007 is refused: damaged",)))
    assert capsys.readouterr().err.count("ranks/last/00000007 is refused: damaged") == 1
