from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from twotower.errors import StoreBusyError, StoreError
from twotower.store.write_lock import write_lock


def test_one_at_a_time_among_threads(tmp_path: Path) -> None:
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(20):
            with write_lock(tmp_path / "live.db", 30):
                inside += 1
                most = max(most, inside)
                time.sleep(0.0005)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["live.db-lock"]


HOLDER = """
import sys, time
from pathlib import Path
from twotower.store.write_lock import write_lock
with write_lock(Path(sys.argv[1]), 0):
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_at_a_time_among_processes_until_the_holder_dies(tmp_path: Path) -> None:
    path = tmp_path / "live.db"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        start = time.monotonic()
        with (
            pytest.raises(StoreBusyError, match=r"another process has been writing for 0\.2 s; nothing .* try again"),
            write_lock(path, 0.2),
        ):
            pass
        assert 0.2 <= time.monotonic() - start < 10
        process.kill()
        process.wait()
        with write_lock(path, 0):
            pass


def test_it_is_let_go_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), write_lock(tmp_path / "live.db", 0):
        raise KeyError
    with write_lock(tmp_path / "live.db", 0):
        pass


def test_where_no_lock_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "live.db-lock").mkdir()
    with pytest.raises(StoreError, match=r"live\.db-lock can't be opened: Is a directory"), write_lock(tmp_path / "live.db", 0):
        pass
    with pytest.raises(StoreError, match="check that the folder is there"), write_lock(tmp_path / "none" / "live.db", 0):
        pass
