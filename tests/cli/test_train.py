"""``twotower train`` and ``evaluate``: figures on stdout, the verdict, JSON, going on after an interruption."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

Call = Callable[..., tuple[int, str, str]]


def test_the_verdict_fits_80_columns_and_says_what_comes_next(call: Call, world: Path, tmp_path: Path) -> None:
    status, out, err = call("train", world / "recipe.toml", "--run-dir", tmp_path / "run")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    tables = [line for line in lines if not line.startswith(("trained", "bundle", "next"))]
    assert max(map(len, tables)) <= 80
    assert all(line == line.rstrip() for line in lines)
    assert lines[0] == "small: 16 test rows of 10 users, each against all 8 items"
    assert lines[3].split() == ["model", "popularity", "random"] * 2
    summary = json.loads((tmp_path / "run" / "result.json").read_text())
    shown = next(line for line in lines if line.startswith("recall@3")).split()[1:]
    rankers = [summary["metrics"]["test"], summary["baselines"]["popularity"], summary["baselines"]["random"]]
    expected = [ranker[variant]["recall@3"] for variant in ("seen_included", "seen_removed") for ranker in rankers]
    assert [float(text) for text in shown] == pytest.approx(expected, abs=5e-5)
    low, high = (next(line for line in lines if line.strip().startswith(word)).split() for word in ("95% from", "to"))
    ends = summary["details"]["model"]["intervals"]["seen_included"]["recall@3"]
    assert (float(low[2]), float(high[1])) == pytest.approx(tuple(ends), abs=5e-5)
    assert lines[-2:] == [f"bundle: {tmp_path / 'run' / 'bundle'}", f"next:   twotower recommend {tmp_path / 'run'} --user ID"]
    assert "histories and seen items frozen at the cut" in lines
    assert any(line.startswith("per user (10 users") for line in lines)


def test_json_is_the_only_line_and_agrees_with_the_folder(call: Call, world: Path, tmp_path: Path) -> None:
    status, out, err = call(
        "train", world / "recipe.toml", "--run-dir", tmp_path / "run", "--json", "--set", "training.epochs=1"
    )
    assert (status, err, out.count("\n")) == (0, "", 1)
    found = json.loads(out)
    assert set(found) >= {"run_dir", "recipe", "rows", "metrics", "baselines", "training", "evaluation", "peak_memory_bytes"}
    stored = json.loads((tmp_path / "run" / "result.json").read_text())
    assert found == {key: value for key, value in stored.items() if key != "details"}
    assert found["training"]["epochs"] == 1


def test_options_that_are_keys_of_the_recipe(call: Call, world: Path, tmp_path: Path) -> None:
    options = ["--refit", "train", "--device", "cpu", "--set", "seed=7", "--on-bad-rows", "skip"]
    assert call("train", world / "recipe.toml", "--run-dir", tmp_path / "run", *options)[0] == 0
    stored = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert (stored["refit"], stored["device"], stored["seed"]) == ("train", "cpu", 7)
    assert stored["data"]["interactions"]["on_bad_rows"] == "skip"


def test_the_run_folder_is_named_after_the_recipe(
    call: Call, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("train", world / "recipe.toml", "--set", "name=other")[0] == 0
    assert (tmp_path / "runs" / "other" / "result.json").exists()


def test_resume_of_a_finished_run_prints_its_verdict(call: Call, world: Path, finished: Path) -> None:
    status, out, err = call("train", world / "recipe.toml", "--run-dir", finished, "--resume", "--json")
    assert (status, err) == (0, "")
    stored = json.loads((finished / "result.json").read_text())
    assert json.loads(out)["metrics"] == stored["metrics"]


def test_evaluate_gives_the_figures_of_the_run(call: Call, finished: Path) -> None:
    stored = json.loads((finished / "result.json").read_text())
    status, out, err = call("evaluate", finished, "--json")
    assert (status, err, out.count("\n")) == (0, "", 1)
    found = json.loads(out)
    assert (found["metrics"], found["baselines"], found["rows"]) == (stored["metrics"], stored["baselines"], stored["rows"])
    status, out, _ = call("evaluate", finished / "bundle")
    assert status == 0
    assert out.startswith("small: 16 test rows")
    assert call("evaluate", finished, "--json", "--device", "cpu")[1] != ""
    assert call("evaluate", finished, "--device", "gpu")[0] == 2
    if not torch.cuda.is_available():
        status, _, err = call("evaluate", finished, "--device", "cuda")
        assert (status, "--device cuda: this machine or this build of torch has none" in err) == (2, True)


def test_tensorboard_needs_its_extra_or_writes(call: Call, world: Path, tmp_path: Path) -> None:
    status, _, err = call("train", world / "recipe.toml", "--run-dir", tmp_path / "run", "--tensorboard")
    try:
        import tensorboard  # type: ignore[import-not-found,import-untyped,unused-ignore]  # noqa: F401
    except ImportError:
        assert status == 1
        assert err == "twotower: --tensorboard needs TensorBoard: pip install 'twotower[tensorboard]'\n"
        assert not (tmp_path / "run").exists()
    else:
        assert status == 0
        assert list((tmp_path / "run" / "tensorboard" / "select").iterdir())


def test_ctrl_c_says_how_to_go_on_and_going_on_works(call: Call, world: Path, tmp_path: Path) -> None:
    arguments = ["train", str(world / "recipe.toml"), "--run-dir", str(tmp_path / "run"), "--set", "training.epochs=100000"]
    command = [sys.executable, "-m", "twotower", *arguments, "--set", "training.early_stopping.patience=99999"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        began = time.monotonic()
        while not (tmp_path / "run" / "metrics.jsonl").exists() and time.monotonic() - began < 60:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.startswith("twotower: interrupted; go on with the same command and --resume: twotower train ")
    settings = "--set training.epochs=100000 --set training.early_stopping.patience=99999"
    assert err.endswith(f"--run-dir {tmp_path / 'run'} --resume {settings}\n")
    assert not (tmp_path / "run" / "bundle").exists()
    status, out, _ = call("inspect", tmp_path / "run")
    assert status == 0
    assert "has not finished" in out


def run_in_terminal(command: list[str], columns: int = 110) -> tuple[int, str]:
    """Run with a terminal on stdout and stderr; gives the status and all that was drawn."""
    master, slave = pty.openpty()
    environment = os.environ | {"COLUMNS": str(columns), "LINES": "40", "TERM": "xterm"}
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment) as process:
        os.close(slave)
        drawn = b""
        while select.select([master], [], [], 60)[0]:
            try:
                data = os.read(master, 65536)
            except OSError:  # the other end was closed
                break
            if not data:
                break
            drawn += data
        process.wait(timeout=60)
    os.close(master)
    return process.returncode, re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", drawn.decode())


def test_a_terminal_shows_rate_loss_figure_and_time_left(world: Path, tmp_path: Path) -> None:
    arguments = ["train", str(world / "recipe.toml"), "--run-dir", str(tmp_path / "run"), "--set", "training.epochs=5"]
    status, drawn = run_in_terminal([sys.executable, "-m", "twotower", *arguments])
    assert status == 0
    assert re.search(r"[\d,]+ rows/s", drawn)
    assert re.search(r"loss \d\.\d{3}", drawn)
    assert re.search(r"recall@3 \.?0?\.\d{4}", drawn)
    assert re.search(r"\d:\d\d:\d\d|--:--", drawn)
    assert "80 rows" in drawn
    assert "56 rows train, 8 validate, 16 test" in drawn
    assert "small: 16 test rows" in drawn


def test_the_next_commands_can_be_pasted_where_a_path_has_blanks(call: Call, world: Path, tmp_path: Path) -> None:
    place = tmp_path / "my runs"
    assert f"--run-dir '{place}'" in call("recommend", place, "--user", "u1")[2]
    out = call("train", world / "recipe.toml", "--run-dir", place)[1]
    assert out.splitlines()[-1] == f"next:   twotower recommend '{place}' --user ID"
    (place / "result.json").unlink()
    assert f"--run-dir '{place}' --resume" in call("inspect", place)[1]


def test_a_training_loads_neither_the_compiler_nor_what_it_does_not_use(world: Path, tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from twotower.cli import main\n"
        f"try: main(['train', {str(world / 'recipe.toml')!r}, '--run-dir', {str(tmp_path / 'run')!r}])\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "heavy = {'torch._dynamo', 'torch._inductor', 'sympy', 'pandas', 'matplotlib', 'implicit', 'tensorboard'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
