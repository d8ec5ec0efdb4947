"""The command as a whole: help, versions, exit statuses, pipes, and what is imported when."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Call = Callable[..., tuple[int, str, str]]
COMMANDS = (
    "train", "evaluate", "compare", "tune", "plan", "baselines", "diagnose", "report", "recommend", "similar", "export",
    "inspect", "synth", "cache", "doctor", "serve", "publish", "index",
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, call: Call) -> None:
    status, out, err = call(command, "--help")
    assert (status, err) == (0, "")
    assert out.startswith(f"Usage: twotower {command} ")
    assert ("--json" in out) is (command != "serve")


def test_help_names_every_command(call: Call) -> None:
    status, out, _ = call("--help")
    assert status == 0
    assert re.findall(r"^  ([a-z]+) {2,}\S", out.partition("Commands:")[2], re.MULTILINE) == list(COMMANDS)


def test_version(call: Call) -> None:
    status, out, _ = call("--version")
    assert status == 0
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", out)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["recomend"], "No such command 'recomend'"),
        (["recommend"], "Missing argument"),
        (["train", "x.toml", "--epochs", "3"], "No such option"),
        (["similar", "run"], "--item"),
    ],
)
def test_wrong_usage_is_status_2(arguments: list[str], says: str, call: Call) -> None:
    status, out, err = call(*arguments)
    assert (status, out) == (2, "")
    assert says in err


def test_help_and_import_need_no_torch() -> None:
    program = (
        "import sys, twotower\n"
        "from twotower.cli import main\n"
        "try: main(['train', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'polars', 'numpy', 'pyarrow', 'tokenizers'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)


def test_silent_when_the_reader_leaves(world: Path) -> None:
    command = f"{sys.executable} -m twotower inspect {world / 'interactions.csv'} | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_interruptions_of_other_commands(call: Call, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("twotower.cli.inspect.inspect_command", interrupt)
    assert call("inspect", world / "interactions.csv") == (130, "", "twotower: interrupted\n")


def test_a_full_disk_is_a_message(call: Call, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "/full/file")

    monkeypatch.setattr("twotower.cli.inspect.inspect_command", fail)
    assert call("inspect", world / "interactions.csv") == (1, "", "twotower: /full/file: No space left on device\n")


def test_bugs_keep_their_traceback(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from twotower.cli import main

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("twotower.cli.inspect.inspect_command", fail)
    with pytest.raises(ZeroDivisionError):
        main(["inspect", str(world / "interactions.csv")])


def test_doctor_tells_versions_devices_and_threads(call: Call) -> None:
    status, out, err = call("doctor", "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    import torch

    assert found["torch"] == torch.__version__
    assert found["torch threads"] == str(torch.get_num_threads())
    assert {"CPU quota", "others running", "OMP_NUM_THREADS", "OMP_WAIT_POLICY"} <= set(found)
    assert found["extra tensorboard"]
    assert {"twotower", "python", "polars", "cores", "cuda", "mps"} <= set(found)
    assert f"torch              {torch.__version__}" in call("doctor")[1]
