"""Which settings of threads suit a machine, and that torch hears of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from twotower.cli import machine
from twotower.cli.machine import cpu_quota, others_running, thread_settings


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine of 4 cores without a load or a quota; files in the folder say otherwise."""
    monkeypatch.setattr(machine, "_LOAD", tmp_path / "loadavg")
    monkeypatch.setattr(machine, "_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(machine, "_cores", lambda: 4)
    return tmp_path


@pytest.mark.parametrize(
    ("load", "others", "sleeps"),
    [
        ("0.10 0.20 0.30 2/345 99", 0.1, False),
        ("0.99 2.00 3.00 5/345 99", 0.99, False),
        ("1.00 0.20 0.30 2/345 99", 1.0, True),
        ("3.89 4.34 3.80 6/345 99", 3.89, True),
        ("3.89 4.34 3.80 1/345 99", 0.0, False),  # who was busy has ended
    ],
)
def test_threads_sleep_while_they_wait_where_others_run(load: str, others: float, sleeps: bool, system: Path) -> None:
    (system / "loadavg").write_text(load)
    assert others_running() == others
    assert thread_settings({}) == ({"OMP_WAIT_POLICY": "PASSIVE"} if sleeps else {})


def test_many_cores_have_room_for_others(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_cores", lambda: 64)
    (system / "loadavg").write_text("15.9 15.9 15.9 30/345 99")
    assert thread_settings({}) == {}
    (system / "loadavg").write_text("16.0 15.9 15.9 30/345 99")
    assert thread_settings({}) == {"OMP_WAIT_POLICY": "PASSIVE"}


@pytest.mark.parametrize(
    ("quota", "cores", "threads"),
    [("max 100000", None, None), ("150000 100000", 1.5, "2"), ("400000 100000", 4.0, None), ("50000 100000", 0.5, "1")],
)
def test_a_quota_bounds_the_threads(quota: str, cores: float | None, threads: str | None, system: Path) -> None:
    (system / "cpu.max").write_text(quota + "\n")
    assert cpu_quota() == cores
    assert thread_settings({}) == ({} if threads is None else {"OMP_NUM_THREADS": threads})


def test_where_the_system_tells_nothing_nothing_is_set(system: Path) -> None:
    assert (others_running(), cpu_quota(), thread_settings({})) == (0.0, None, {})


def test_what_is_set_is_left_alone(system: Path) -> None:
    (system / "loadavg").write_text("3.89 4.34 3.80 5/345 99")
    (system / "cpu.max").write_text("100000 100000")
    assert set(thread_settings({})) == {"OMP_WAIT_POLICY", "OMP_NUM_THREADS"}
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        assert set(thread_settings({name: "1"})) == {"OMP_NUM_THREADS"}
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        assert set(thread_settings({name: "3"})) == {"OMP_WAIT_POLICY"}


@pytest.mark.skipif(sys.platform != "linux", reason="asks the OpenMP of Linux what it heard")
def test_torch_hears_of_it(tmp_path: Path) -> None:
    (tmp_path / "loadavg").write_text("3.89 4.34 3.80 5/345 99")
    (tmp_path / "cpu.max").write_text("100000 100000")
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from twotower.cli import machine, main\n"
        "machine._cores = lambda: 2\n"
        f"machine._LOAD, machine._QUOTA = Path({str(tmp_path)!r}) / 'loadavg', Path({str(tmp_path)!r}) / 'cpu.max'\n"
        "main(['doctor', '--json'])\n"
    )
    names = ("OMP_", "GOMP_", "KMP_", "MKL_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment | {"OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "GOMP_SPINCOUNT = '0'" in done.stderr
    assert '"torch threads": "1"' in done.stdout
