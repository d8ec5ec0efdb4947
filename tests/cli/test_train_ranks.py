"""`twotower train --ranks N`: the same command by several processes, their errors told once, and a rank that dies."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from twotower.cli import ranks as ranks_module
from twotower.distributed import Launch, launch
from twotower.errors import ConfigError, RankLostError
from twotower.runs import read_recipe

RECIPE = """
name = "toy"
seed = 3
refit = "all"
[data]
interactions = { path = "interactions.csv" }
[data.columns]
user = "user"
item = "item"
time = "when"
[split]
kind = "time"
test = 0.2
validation = 0.2
[[query.features]]
kind = "history"
embedding = { dim = 8, table = "item", id_dropout = 0.0 }
[[candidate.features]]
kind = "id"
column = "item"
embedding = { dim = 8, table = "item", id_dropout = 0.0 }
[loss]
kind = "in_batch"
[training]
epochs = 3
batch_size = 64
optimizer = { kind = "adamw", learning_rate = 0.01, epsilon = 0.01 }
early_stopping = { metric = "recall@5" }
checkpoint_every_s = 0
[evaluation]
ks = [5]
draws = 0
[baselines]
train = ["popularity"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    users = draw.integers(30, size=900)
    frame = pl.DataFrame({"user": users, "item": users % 3 * 8 + draw.integers(8, size=900), "when": np.arange(900)})
    frame.write_csv(tmp_path / "interactions.csv")
    (tmp_path / "toy.toml").write_text(RECIPE)
    return tmp_path


def command(folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "twotower", "train", str(folder / "toy.toml"), "--run-dir", *arguments]


def ran(arguments: Sequence[str], **environment: str) -> subprocess.CompletedProcess[str]:
    settings = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(arguments, capture_output=True, text=True, timeout=500, env=settings, check=False)


def test_two_ranks_train_what_one_does(folder: Path) -> None:
    found = {}
    for ranks in (1, 2):
        done = ran([*command(folder, str(folder / f"run{ranks}")), "--ranks", str(ranks), "--json"])
        assert (done.returncode, done.stderr) == (0, "")
        assert len(done.stdout.splitlines()) == 1
        found[ranks] = json.loads(done.stdout)
    one, two = found[1], found[2]
    assert two["metrics"]["test"]["seen_included"]["recall@5"] == pytest.approx(
        one["metrics"]["test"]["seen_included"]["recall@5"], abs=1e-3
    )
    assert two["selection"]["epoch"] == one["selection"]["epoch"]
    assert two["baselines"] == one["baselines"]
    logs = [(folder / f"run{ranks}" / "metrics.jsonl").read_text() for ranks in (1, 2)]
    records = [[json.loads(line) for line in log.splitlines()] for log in logs]
    assert [record["phase"] for record in records[1]] == [record["phase"] for record in records[0]]
    assert {record["phase"] for record in records[1]} == {"select", "refit", "production"}
    assert [record["loss"] for record in records[1]] == pytest.approx([record["loss"] for record in records[0]], rel=1e-4)
    assert (two["hardware"]["ranks"], "ranks" in one["hardware"]) == (2, False)
    again = ran([*command(folder, str(folder / "run2")), "--ranks", "2", "--json", "--resume"])
    assert json.loads(again.stdout)["metrics"] == two["metrics"]


def test_two_processes_that_nobody_watches_train_what_one_does(folder: Path) -> None:
    """As a scheduler starts them: with the variables, and without an agent."""
    small = ["--set", "refit=none", "--resume", "--json"]
    one = json.loads(ran([*command(folder, str(folder / "run1")), *small]).stdout)
    with socket.socket() as found:
        found.bind(("localhost", 0))
        port = found.getsockname()[1]
    variables = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [*command(folder, str(folder / "run2")), *small],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **variables, "RANK": str(rank)},
        )
        for rank in (1, 0)
    ]
    try:
        (second, said), (first, warned) = (process.communicate(timeout=400) for process in processes)
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], said + warned
    assert (second, said, warned) == ("", "", "")
    two = json.loads(first)
    assert two["metrics"]["test"]["seen_included"]["recall@5"] == pytest.approx(
        one["metrics"]["test"]["seen_included"]["recall@5"], abs=1e-3
    )
    assert two["selection"]["epoch"] == one["selection"]["epoch"]


def test_an_error_is_told_once(folder: Path) -> None:
    """And nobody is started again, for it would be told again."""
    more = ["--ranks", "2", "--restarts", "2"]
    done = ran([*command(folder, str(folder / "run")), *more, "--set", "data.columns.item=thing"])
    assert done.returncode == 1
    assert done.stderr.count("thing") == 1
    assert done.stderr.count("twotower:") == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "run" / "recipe.json").exists()
    done = ran([*command(folder, str(folder / "run")), "--ranks", "2", "--set", "training.epoch=1"])
    assert (done.returncode, done.stderr.count("unknown key")) == (2, 1)
    (folder / "run").mkdir(exist_ok=True)
    (folder / "run" / "recipe.json").write_text("{}")
    done = ran([*command(folder, str(folder / "run")), *more])
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "a run is there already; go on with --resume" in done.stderr


def test_who_is_a_rank_already_starts_no_others(folder: Path) -> None:
    variables = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    done = ran([*command(folder, str(folder / "run")), "--ranks", "2"], **variables)
    assert (done.returncode, "leave --ranks out" in done.stderr) == (2, True)
    done = ran([*command(folder, str(folder / "run")), "--restarts", "2"])
    assert (done.returncode, "it is of --ranks" in done.stderr) == (2, True)


def test_one_rank_alone_under_torchrun_is_one_process(folder: Path) -> None:
    variables = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    done = ran([*command(folder, str(folder / "run")), "--json"], **variables)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("restarts", "agent"), [(0, "ours"), (1, "ours"), (1, "torchrun")])
def test_a_rank_that_is_killed(folder: Path, restarts: int, agent: str) -> None:
    run, epochs = folder / "run", "12"
    arguments = [*command(folder, str(run)), "--set", f"training.epochs={epochs}"]
    if agent == "ours":
        arguments += ["--ranks", "2", "--restarts", str(restarts)]
    else:
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", str(restarts)]
        arguments = [sys.executable, *torchrun, *arguments[1:]]
    with subprocess.Popen(
        [*arguments, "--set", "refit=none", "--set", "training.early_stopping=false"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        until = time.monotonic() + 300
        while time.monotonic() < until and process.poll() is None:
            if (run / "metrics.jsonl").exists():
                break
            time.sleep(0.05)
        try:
            os.kill(_rank(process.pid, 1), signal.SIGKILL)
            _, told = process.communicate(timeout=400)
        finally:
            process.kill()
    lines = [line for line in told.splitlines() if line.startswith("twotower:")]
    assert len(lines) == 1, told
    assert "Traceback" not in told
    if restarts:
        assert process.returncode == 0
        assert "restart 1 of 1): what had begun goes on from its last checkpoint" in lines[0]
        records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert [record["epoch"] for record in records] == list(range(1, int(epochs) + 1))
    else:
        assert process.returncode == 1
        assert "rank 1 of 2 died (SIGKILL), and the others were ended; train again with --resume" in lines[0]


@pytest.mark.parametrize("signalled", ["all", "launcher", "told to end"])
def test_what_is_interrupted_says_so_once(folder: Path, signalled: str) -> None:
    """Ctrl-C reaches all processes of a terminal; a scheduler tells one of them."""
    run = folder / "run"
    settings = ["--set", "refit=none", "--set", "training.early_stopping=false", "--set", "training.epochs=2000"]
    with subprocess.Popen(
        [*command(folder, str(run)), *settings, "--ranks", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    ) as process:
        until = time.monotonic() + 300
        while time.monotonic() < until and not (run / "metrics.jsonl").exists():
            time.sleep(0.05)
        if signalled == "all":
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.SIGINT if signalled == "launcher" else signal.SIGTERM)
        out, told = process.communicate(timeout=400)
    if signalled == "told to end":
        assert (process.returncode, out) == (1, "")
        assert told.startswith("twotower: the 2 ranks were ended (SIGTERM); train again with --resume")
    else:
        assert (process.returncode, out) == (130, "")
        assert told.startswith("twotower: interrupted; go on with the same command and --resume: twotower train ")
        assert told.endswith(f"--run-dir {run} --resume {' '.join(settings)} --ranks 2\n")
    assert len(told.splitlines()) == 1


def test_ranks_end_with_the_process_that_started_them(folder: Path) -> None:
    """It was killed, and can't end them; so that the run can be gone on with, they end by themselves."""
    run = folder / "run"
    arguments = [*command(folder, str(run)), "--ranks", "2", "--set", "refit=none", "--set", "training.early_stopping=false"]
    told = folder / "told"
    with told.open("w") as stderr:
        process = subprocess.Popen(
            [*arguments, "--set", "training.epochs=2000"],
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        until = time.monotonic() + 300
        while time.monotonic() < until and not (run / "metrics.jsonl").exists():
            time.sleep(0.05)
        ranks = [_rank(process.pid, rank) for rank in (0, 1)]
        process.kill()
        process.wait()
        while time.monotonic() < until and any(_runs(rank) for rank in ranks):
            time.sleep(0.05)
    assert not any(_runs(rank) for rank in ranks)
    assert told.read_text().count("the process that had started the ranks is gone") == 1
    again = ran([*command(folder, str(run)), "--resume", "--set", "training.epochs=3"])
    assert "the run there has another recipe" in again.stderr  # and not that another process writes there


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _rank(parent: int, rank: int) -> int:
    """The process of a rank among the children of the agent."""
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        if f"RANK={rank}\0" in Path(f"/proc/{child}/environ").read_text().replace("\0LOCAL_", "\0_"):
            return int(child)
    raise AssertionError("there is no such rank")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"RANK": "0"}, "has RANK and lacks WORLD_SIZE, MASTER_ADDR, MASTER_PORT"),
        (
            {"RANK": "2", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"},
            "RANK must be below WORLD_SIZE; came 2 of 2",
        ),
        ({"RANK": "x", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "RANK must be a whole number, .*; came 'x'"),
        ({"RANK": "-1", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "RANK must be a whole number"),
    ],
)
def test_an_environment_that_says_half_of_it(variables: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Launch.of(variables)


def test_what_the_environment_says() -> None:
    assert Launch.of({"MASTER_ADDR": "a"}) is None
    variables = {"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "a", "MASTER_PORT": "1"}
    assert Launch.of(variables) == Launch(1, 4)
    restarted = {**variables, "TORCHELASTIC_RESTART_COUNT": "2", "TORCHELASTIC_MAX_RESTARTS": "3"}
    assert Launch.of(restarted) == Launch(1, 4, 2, 3)
    assert Launch.of({**restarted, "TWOTOWER_RESTARTS": "1 4"}) == Launch(1, 4, 1, 4)


@pytest.mark.parametrize(("rank", "waited"), [(0, 0.0), (1, 3.0), (500, 6.0)])
def test_who_has_lost_the_others_does_not_stay_for_long(
    folder: Path, rank: int, waited: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What starts ranks again waits for the last of them to end."""
    for name, value in {"RANK": str(rank), "WORLD_SIZE": "512", "MASTER_ADDR": "a", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    slept: list[float] = []

    def lost(*_: object) -> None:
        raise RankLostError("one of them died")

    monkeypatch.setattr(ranks_module, "opened_ranks", lost)
    monkeypatch.setattr(ranks_module, "resolve_device", lambda _: None)
    monkeypatch.setattr(time, "sleep", slept.append)
    with pytest.raises(RankLostError), ranks_module.ranks_for(read_recipe(folder / "toy.toml")):
        pass
    assert slept == [waited]


ALL_END = "raise SystemExit({})"
FIRST_ENDS = "import os, time; time.sleep(0 if os.environ['RANK'] == '0' else 600); raise SystemExit({})"
SECOND_DIES = """
import os, time
if os.environ["RANK"] == "1":
    os.kill(os.getpid(), {})
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("program", "status", "said"),
    [
        (ALL_END, 75, "the 2 ranks have lost each other"),
        (ALL_END, 3, None),
        (FIRST_ENDS, 3, None),  # it has said why; that the other was ended says nothing more
        (SECOND_DIES, 9, r"rank 1 of 2 died \(SIGKILL\)"),
        (SECOND_DIES, 15, r"rank \d of 2 died \(SIGTERM\)"),
    ],
)
def test_what_the_command_says_of_ranks_that_ended(program: str, status: int, said: str | None) -> None:
    before = dict(os.environ)
    arguments = ["-c", program.format(status)]
    if said is None:
        assert launch(arguments, ranks=2) == status
        assert dict(os.environ) == before
        return
    with pytest.raises(RankLostError, match=said):
        launch(arguments, ranks=2)
