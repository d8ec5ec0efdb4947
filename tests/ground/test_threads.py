"""Parts side by side."""

from __future__ import annotations

import threading

import pytest
import torch

from twotower.threads import side_by_side


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_every_part_is_done_once_without_gradients(parts: int) -> None:
    done: list[tuple[int, bool, bool, str]] = []
    shared = torch.get_num_threads()

    def work(part: int) -> None:
        done.append((part, torch.is_grad_enabled(), torch.is_inference_mode_enabled(), threading.current_thread().name))

    for _ in range(3):
        side_by_side(work, parts)
    with torch.inference_mode():
        side_by_side(work, parts)
    assert sorted(part for part, *_ in done) == sorted(list(range(parts)) * 4)
    assert not any(grad for _, grad, *_ in done)
    assert [inference for *_, inference, _ in done] == [False] * 3 * parts + [True] * parts
    assert torch.get_num_threads() == shared
    assert torch.is_grad_enabled()


def test_parts_run_at_the_same_time_and_share_out_nothing() -> None:
    shared = torch.get_num_threads()
    meeting = threading.Barrier(2, timeout=20)
    threads = [0, 0]

    def work(part: int) -> None:
        meeting.wait()
        threads[part] = torch.get_num_threads()

    side_by_side(work, 2)
    assert threads == [1, 1]
    assert torch.get_num_threads() == shared
    # nor does a thread that starts afterwards have one only
    later: list[int] = []
    other = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert later == [shared]


def test_what_a_part_raises_is_raised_when_all_have_ended() -> None:
    ended = threading.Event()

    def work(part: int) -> None:
        if part == 0:
            raise ValueError("no such tile")
        ended.set()

    with pytest.raises(ValueError, match="no such tile"):
        side_by_side(work, 2)
    assert ended.is_set()
