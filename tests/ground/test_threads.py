"""Parts side by side, in processes in which torch has several threads: the tests' own has one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
import torch

from twotower.threads import side_by_side


def said(program: str) -> list[str]:
    """What a program prints where torch has three threads."""
    environment = {**os.environ, "OMP_NUM_THREADS": "3"}
    head = "import os, threading, torch\nfrom twotower.threads import side_by_side\ntorch.set_num_threads(3)\n"
    done = subprocess.run(
        [sys.executable, "-c", head + program], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_every_part_is_done_once_without_gradients(parts: int) -> None:
    done: list[tuple[int, bool, bool]] = []

    def work(part: int) -> None:
        done.append((part, torch.is_grad_enabled(), torch.is_inference_mode_enabled()))

    for _ in range(3):
        side_by_side(work, parts)
    with torch.inference_mode():
        side_by_side(work, parts)
    assert sorted(part for part, *_ in done) == sorted(list(range(parts)) * 4)
    assert not any(grad for _, grad, _ in done)
    assert [inference for *_, inference in done] == [False] * 3 * parts + [True] * parts
    assert torch.is_grad_enabled()


def test_parts_share_out_nothing_and_the_caller_keeps_its_threads() -> None:
    program = """
threads = [0] * 3
meeting = threading.Barrier(3, timeout=60)
def work(part):
    meeting.wait()
    torch.ones(4, 4) @ torch.ones(4, 4)
    threads[part] = torch.get_num_threads()
side_by_side(work, 3)
later = []
other = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
other.start(); other.join()
print(*threads, torch.get_num_threads(), *later)
"""
    assert said(program) == ["1", "1", "1", "3", "3"]


def test_one_pool_serves_however_many_parts_and_parts_within_parts() -> None:
    program = """
done = []
for parts in (2, 3, 2, 3):
    side_by_side(lambda part: side_by_side(lambda inner: done.append((part, inner)), 2), parts)
print(len(done), sum(thread.name.startswith("part") and thread.is_alive() for thread in threading.enumerate()) <= 5)
"""
    assert said(program) == ["20", "True"]


def test_while_the_interpreter_ends_parts_are_done_one_after_the_other() -> None:
    program = """
import atexit
atexit.register(lambda: side_by_side(lambda part: print(part), 2))
"""
    assert sorted(said(program)) == ["0", "1"]


def test_what_a_part_raises_is_raised_when_all_have_ended() -> None:
    ended = threading.Event()

    def work(part: int) -> None:
        if part == 0:
            raise ValueError("no such tile")
        ended.set()

    with pytest.raises(ValueError, match="no such tile"):
        side_by_side(work, 2)
    assert ended.is_set()
